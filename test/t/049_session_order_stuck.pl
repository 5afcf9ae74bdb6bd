# The runs of a session never wait for each other for ever. Order in a session is
# that of acceptance, but an earlier run may become visible while a later one
# executes already. When the later one is put back, because its model server asks
# for a long pause, the earlier one goes ahead at once; the later one is scheduled,
# and can still be cancelled. Fault injected: a superuser deletes the rows of the
# first runs of sessions from the queue by hand, while nothing is started, and the
# runner is terminated.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
my $pausing_url = start_mock('pausing');
add_mock_server($url);
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER pausing FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-responses', base_url '$pausing_url');
	CREATE USER MAPPING FOR PUBLIC SERVER pausing
		OPTIONS (api_key 'sk-mock')));

# The process of that mock, which is stopped so that it answers later.
my ($mock_pid) = run_command(
	[ 'pgrep', '-f', "port-file $PostgreSQL::Test::Utils::tmp_check/pausing" ]);
like($mock_pid, qr/^\d+$/, 'the process of the mock is known');

sub set_paused
{
	my ($on) = @_;
	configure(paused => $on);
}

#-------------------------------------------------------------------------
# An earlier run becomes visible while a later one executes
#-------------------------------------------------------------------------

$node->safe_psql('postgres',
	"CALL agno_run('open', model => 'mock:echo', session_id => 's')");
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; SELECT agno_arun('early', model => 'mock:echo',
	session_id => 's', run_id => 'early')");

kill 'STOP', $mock_pid;
is(value("status FROM agno_arun('late', model => 'pausing:after-900000-429',
		session_id => 's', run_id => 'late')"),
	'PENDING', 'a later run of the session is committed first');
ok( $node->poll_query_until('postgres',
		"SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'late'"),
	'the later run executes');
is(value("count(*) FROM agno.runs WHERE run_id = 'early'"),
	0, 'the earlier run is not visible meanwhile');
$session->query_safe('COMMIT');
$session->quit;
ok( $node->poll_query_until('postgres',
		"SELECT state = 'w' FROM agno.run_queue WHERE run_id = 'early'"),
	'an earlier run that becomes visible waits for the one that executes');
cmp_ok(value("count(*) FROM agno.run_queue e, agno.run_queue l
		WHERE e.run_id = 'early' AND l.run_id = 'late'
		AND e.accepted_at < l.accepted_at AND (l.state = 'x' OR l.claimed)"),
	'==', 1, 'it waits though that one was accepted later');

kill 'CONT', $mock_pid;
is(value("status FROM agno_wait_run('early', '5 s')"),
	'COMPLETED', 'the earlier run goes ahead when the later one is put back');
is(value("concat_ws(' ', q.state, r.status,
			r.run_at > now() + interval '120 s')
		FROM agno.run_queue q JOIN agno.runs r USING (run_id)
		WHERE q.run_id = 'late'"),
	's PENDING t', 'the later run is scheduled');
is(value("agno_cancel_run('late')"), 't',
	'the run that was put back can be cancelled');
is(value("status FROM agno_wait_run('late', '5 s')"), 'CANCELLED',
	'the run that was put back is CANCELLED');
is(value("status FROM agno_arun('next', model => 'mock:echo',
		session_id => 's', run_id => 'next')"),
	'PENDING', 'another run of the session is accepted');
is(value("status FROM agno_wait_run('next', '5 s')"),
	'COMPLETED', 'another run of the session completes, too');

#-------------------------------------------------------------------------
# What has been done to the queue by hand
#-------------------------------------------------------------------------

# The first run of one session executes, and those behind it wait for it; the
# runs of the other have not been looked at.
kill 'STOP', $mock_pid;
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 4) i, agno_arun('executes ' || i,
		model => CASE i WHEN 1 THEN 'pausing:echo' ELSE 'mock:echo' END,
		session_id => 'executes', run_id => 'e' || i)));
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 3 FROM agno.run_queue WHERE run_id ~ '^e[234]'
			AND state = 'w'"),
	'runs wait for the first one of their session');
set_paused('on');
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 4) i, agno_arun('ready ' || i,
		model => 'mock:echo', session_id => 'ready', run_id => 'r' || i)));
is( $node->safe_psql('postgres', "WITH deleted AS (DELETE FROM agno.run_queue
		WHERE run_id IN ('e1', 'r1') RETURNING 1)
		SELECT count(*) FROM deleted"),
	2, 'a hand deletes the first runs of sessions from the queue');
ok(replace_runner(),
	'another runner takes over');
kill 'CONT', $mock_pid;
set_paused('off');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 8 FROM agno.runs
			WHERE run_id ~ '^[er][1-4]\$' AND status = 'COMPLETED'"),
	'all runs complete after rows of the queue were deleted by hand');
is(value('count(*) FROM agno.run_queue'), 0,
	'nothing is left in the queue after that');

$node->stop;
done_testing();
