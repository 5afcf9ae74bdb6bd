# A model server that cannot be reached - nothing listens, or there is no such
# name - holds its runs back: they are PENDING and say why, one of them tries the
# server again with growing pauses, and when it is there they all complete. They
# are given up only after unreachable_patience. Runs of other servers pass.
# Waits: for model servers that cannot be reached.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $url = start_mock('mock');
my $port = PostgreSQL::Test::Cluster::get_free_port();

add_mock_server($url);
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER down FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://127.0.0.1:$port/v1');
	CREATE SERVER gone FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://127.0.0.1:$port/v1',
			unreachable_patience '2s');
	CREATE SERVER hasty FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://127.0.0.1:$port/v1', retries '1',
			unreachable_patience '0')));

# A server that is restarted: 100 runs, some of them in sessions, some streamed
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 100) i,
		agno_arun('down ' || i, model => 'down:echo', run_id => 'd' || i,
			session_id => 's' || i % 40, stream => i % 5 = 0)));
$node->poll_query_until('postgres',
	"SELECT count(*) >= 40 FROM agno.runs WHERE run_id ~ '^d'
		AND status = 'PENDING' AND error->>'type' = 'connection'")
  or die 'no run says why it waits';
is(value("count(*) FROM agno.runs WHERE run_id ~ '^d'
		AND status NOT IN ('PENDING', 'RUNNING')"),
	0, 'no run is given up while its server cannot be reached');
like(value("error->>'message' FROM agno.runs
		WHERE run_id ~ '^d' AND error IS NOT NULL LIMIT 1"),
	qr/could not reach the model server: .*(refused|connect)/,
	'the error of a run that waits says why');
my $start = time;
like($node->safe_psql('postgres', "CALL agno_run('x', model => 'mock:echo')"),
	qr/\|COMPLETED\|/,
	'a run of another server completes');
cmp_ok(time - $start, '<', 2, 'a run of another server is not held up');
is(value("agno_cancel_run('d100')"), 't', 'a run that waits is cancelled');
is(run_status('d100'), 'CANCELLED',
	'a run that waits for its server is CANCELLED at once');
cmp_ok(value("in_flight FROM agno.workers WHERE database = 'postgres'"),
	'<=', 1, 'runs that wait take no slots');

# The runner may be replaced meanwhile
ok(replace_runner(),
	'another runner takes over');

start_mock('late', '--port', $port);
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 99 FROM agno.runs
			WHERE run_id ~ '^d' AND status = 'COMPLETED'"),
	'when the server is there, all runs complete');
is(value("count(*) FROM agno.runs
		WHERE run_id ~ '^d' AND (error IS NOT NULL OR attempt <> 1)
		AND status = 'COMPLETED'"),
	0, 'without an error, in their first attempt');
is(scalar(mock_requests('late')), 99, 'each run was sent once');
is(value("count(*) FROM (SELECT run_id FROM agno.run_events e
		JOIN agno.runs r USING (run_id)
		WHERE r.status = 'COMPLETED'
		GROUP BY 1 HAVING max(seq) <> count(*)
		OR count(*) FILTER (WHERE event = 'RunCompleted') <> 1) x"),
	0, 'the events of streamed runs are whole');
stop_mock('late');

# Patience has an end
$start = time;
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('gone ' || i, model => 'gone:echo', run_id => 'g' || i)));
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 20 FROM agno.runs
			WHERE run_id ~ '^g' AND status = 'ERROR'"),
	'runs end in ERROR when their server stays away');
cmp_ok(time - $start, '>=', 2,
	'runs are not given up before the patience of their server ends');
cmp_ok(time - $start, '<', 12,
	'runs are given up soon after the patience of their server ends');
is(value("count(*) FROM agno.runs WHERE run_id ~ '^g'
		AND error->>'type' = 'connection'
		AND content LIKE 'could not reach the model server for 2.000 s: %'"),
	20, 'runs that are given up say why');
is(value('count(*) FROM agno.run_queue'), 0,
	'nothing is left in the queue of runs that were given up');

# Or there is none
$start = time;
is(value("status FROM agno_arun('hasty', model => 'hasty:echo') a,
			LATERAL (SELECT a.run_id) r") eq 'PENDING'
	  && $node->poll_query_until('postgres',
		"SELECT status = 'ERROR' FROM agno.runs WHERE input = 'hasty'"),
	1, 'without patience, a run ends after its retries');
cmp_ok(time - $start, '<', 5, 'without patience, a run ends at once');

# A setting for all servers
configure(unreachable_patience => '1s');
$node->safe_psql('postgres',
	"SELECT agno_arun('set', model => 'down:echo', run_id => 'set')");
is(wait_run('set'), 'ERROR', 'the setting holds for a server without');

# A server that goes away with each request: that the run is put back meanwhile
# does not give it more of them than its retries allow
$node->safe_psql('postgres', qq(
	CREATE SERVER flaky FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://127.0.0.1:$port/v1', retries '1',
			unreachable_patience '1min');
	SELECT agno_arun('flaky', model => 'flaky:hang', run_id => 'flaky',
		timeout => '5 min')));
my $requests = 0;
foreach my $time (1 .. 3)
{
	start_mock("flaky$time", '--port', $port);
	wait_until('the request, or the end of the run', sub {
		mock_count("flaky$time", 'flaky') > 0
		  || run_status($node, 'flaky') eq 'ERROR' });
	$requests += mock_count("flaky$time", 'flaky');
	stop_mock("flaky$time");
	$node->poll_query_until('postgres',
		"SELECT status = 'ERROR' OR status = 'PENDING' AND error IS NOT NULL
			FROM agno.runs WHERE run_id = 'flaky'")
	  or die 'the run does not notice';
}
is(run_status($node, 'flaky'), 'ERROR',
	'a run whose server goes away with each request ends');
is($requests, 2, 'that run has sent one request and one repetition');

# Its own timeout is a matter of the run, and tells nothing about its server
$node->safe_psql('postgres', qq(
	CREATE SERVER once FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url', retries '0');
	SELECT count(*) FROM generate_series(1, 30) i,
		agno_arun('short ' || i, model => 'once:slow-100',
			timeout => '1 millisecond')));
$node->poll_query_until('postgres',
	"SELECT count(*) = 30 FROM agno.runs
		WHERE input LIKE 'short %' AND status = 'ERROR'")
  or die 'a timeout does not end its run';
is(value("string_agg(DISTINCT error->>'type', ' ') FROM agno.runs
		WHERE input LIKE 'short %'"),
	'timeout', 'runs with timeouts that nobody can keep end of these');
$start = time;
$node->safe_psql('postgres', "CALL agno_run('long', model => 'once:echo')");
cmp_ok(time - $start, '<', 1,
	'runs with short timeouts hold no other run back');

# Patience ends, too, while all slots are taken
$node->safe_psql('postgres', q(
	SELECT agno_arun('unlucky', model => 'gone:echo', run_id => 'unlucky')));
$node->poll_query_until('postgres',
	"SELECT state = 'p' FROM agno.run_queue WHERE run_id = 'unlucky'")
  or die 'the run does not wait for its server';
configure(max_concurrent_runs => '2');
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 2) i,
		agno_arun('hangs ' || i, model => 'mock:hang', timeout => '1 h')));
$start = time;
is(wait_run('unlucky'), 'ERROR',
	'a run is given up while all slots are taken');
cmp_ok(time - $start, '<', 20,
	'a run is given up in good time while all slots are taken');

$node->stop;
done_testing();
