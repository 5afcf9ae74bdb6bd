# A dump that is restored while the server goes on: whatever had not ended in it
# is executed as it was to be, by each of the ways to restore. A dump is loaded
# table by table, the queue first, so for a while there are queue rows without
# runs, runs without queue rows, and runs without what they were given. The same
# faults made by hand, in a database that has been hurt by them already.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $node = new_node('main', conf => 'max_worker_processes = 20');
new_database('app', start_mock('mock'));

# 20,000 runs that ended long ago; 20 in flight; and in their sessions 40 behind
# them. 20 are for later, and 20 were cancelled.
$node->safe_psql('app', q(
	INSERT INTO agno.sessions (session_id, owner, created_at, updated_at)
		SELECT 'old' || i, 'postgres'::regrole, now() - interval '1 day', now()
		FROM generate_series(1, 20000) i;
	INSERT INTO agno.runs (run_id, session_id, status, input, content, messages,
		model, model_provider, owner, priority, attempt, created_at, started_at,
		finished_at)
		SELECT 'old' || i, 'old' || i, 'COMPLETED', 'old' || i, repeat(md5(i::text), 40),
			jsonb_build_array(jsonb_build_object('role', 'user', 'content', 'old')),
			'echo', 'mock', 'postgres'::regrole, 0, 1,
			now() - interval '1 day' + i * interval '1 ms', now(), now()
		FROM generate_series(1, 20000) i;
	INSERT INTO agno.agents (agent_id, model, instructions)
		VALUES ('helper', 'mock:echo', '{Be brief.}');
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('flies' || i, CASE WHEN i % 2 = 0 THEN 'helper' END,
			model => 'mock:gate', run_id => 'flies' || i, session_id => 's' || i,
			model_options => CASE WHEN i % 5 = 0 THEN '{"temperature": 0.5}'::jsonb END);
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('behind' || i, 'helper', run_id => 'behind' || i,
			session_id => 's' || i);
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('last' || i, model => 'mock:echo', run_id => 'last' || i,
			session_id => 's' || i, output_schema => CASE WHEN i % 4 = 0 THEN
			'{"type": "object"}'::jsonb END);
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('later' || i, 'helper', run_id => 'later' || i,
			run_at => '2100-01-01');
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('ended' || i, model => 'mock:hang', run_id => 'ended' || i,
			run_at => '2100-01-01');
	SELECT count(agno_cancel_run('ended' || i)) FROM generate_series(1, 20) i));
wait_until('the requests', sub {
	20 <= mock_requests('mock') });
$node->poll_query_until('app', q(
	SELECT count(*) = 20 FROM agno.runs WHERE status = 'CANCELLED'));

my $statuses = q(SELECT string_agg(x, ', ' ORDER BY x) FROM
	(SELECT status || ' ' || count(*) AS x FROM agno.runs GROUP BY status) s);
is($node->safe_psql('app', $statuses),
	'CANCELLED 20, COMPLETED 20000, PENDING 60, RUNNING 20',
		'the database has runs in each state');
$node->command_ok(
	[ 'pg_dump', '-Fc', '-f', "$dir/app.dump", $node->connstr('app') ],
	'pg_dump writes its own format');
$node->command_ok([ 'pg_dump', '-f', "$dir/app.sql", $node->connstr('app') ],
	'pg_dump writes plain SQL');

# The original goes on, so that what is asked from here on comes from copies.
open_gate();
my $done = 'CANCELLED 20, COMPLETED 20060, PENDING 20';
ok($node->poll_query_until('app', $statuses, $done),
	'the dumped database goes on');
my $asked = mock_requests('mock');
is($asked, 60, 'each run of the dumped database was sent once');

# Restore with this command, and see that all is as it should be.
sub restore
{
	my ($name, @command) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->command_ok([ map { s/DATABASE/$node->connstr($name)/er } @command ],
		"$name: the restore succeeds");
	ok($node->poll_query_until($name, $statuses, $done),
		"$name: what had not ended is executed");
	is( $node->safe_psql($name, q(SELECT count(*), string_agg(DISTINCT state::text, ' '),
			bool_and(run_id LIKE 'later%') FROM agno.run_queue)),
		'20|s|t', "$name: nothing else is left in the queue");
	is( $node->safe_psql($name, q(SELECT count(*) FROM
			(SELECT started_at < lag(finished_at) OVER
				(PARTITION BY session_id ORDER BY created_at) AS early
			FROM agno.runs WHERE session_id LIKE 's%') x WHERE early)),
		0, "$name: runs of a session took place one after the other");

	my @requests = mock_requests('mock');
	@requests = @requests[ $asked .. $#requests ];
	$asked += @requests;
	my %seen;
	my @wrong = grep {
		my $input = $_->{body}{input}[-1]{content};
		my ($kind, $i) = $input =~ /^([a-z]+)(\d+)$/;
		my $system = $_->{body}{input}[0]{role} eq 'developer'
		  ? $_->{body}{input}[0]{content} : '';
		$seen{$input} = 1;
		$kind !~ /^(flies|behind|last)$/
		  || ($system =~ /Be brief/) != ($kind eq 'behind'
			|| ($kind eq 'flies' && $i % 2 == 0))
		  || defined $_->{body}{temperature} != ($kind eq 'flies' && $i % 5 == 0)
		  || defined $_->{body}{text} != ($kind eq 'last' && $i % 4 == 0)
	} @requests;
	is(scalar(keys %seen), 60, "$name: each run is sent");
	is(scalar(@wrong), 0, "$name: each request has what its run was given")
	  or diag(explain($wrong[0]{body}));
	$node->safe_psql('postgres', "DROP DATABASE $name");
}

restore('plainly', 'pg_restore', '-d', 'DATABASE', "$dir/app.dump");
restore('parallel', 'pg_restore', '-j4', '-d', 'DATABASE', "$dir/app.dump");
restore('at_once', 'pg_restore', '-1', '-d', 'DATABASE', "$dir/app.dump");
restore('by_psql', 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f',
	"$dir/app.sql", 'DATABASE');

# A database that has been hurt already: runs in flight and waiting that the
# queue does not know.
close_gate();
$node->safe_psql('app', q(
	INSERT INTO agno.sessions (session_id, owner, created_at, updated_at)
		SELECT 'hurt' || i, 'postgres'::regrole, now(), now()
		FROM generate_series(1, 20) i;
	INSERT INTO agno.runs (run_id, session_id, status, input, model,
		model_provider, owner, priority, attempt, created_at, started_at)
		SELECT 'hurt' || n, 'hurt' || i, CASE WHEN n % 2 = 1 THEN 'RUNNING' ELSE
			'PENDING' END::agno.run_status, 'hurt' || n, 'echo', 'mock',
			'postgres'::regrole, 0, n % 2, now() + n * interval '1 us', now()
		FROM generate_series(1, 20) i, LATERAL (VALUES (2 * i - 1), (2 * i)) v (n);
	SELECT count(*) FROM generate_series(1, 10) i,
		agno_arun('lost' || i, model => 'mock:gate', run_id => 'lost' || i,
			session_id => 'lost' || i % 5)));
wait_until('the requests',
	sub { 5 == grep { $_->{body}{input}[-1]{content} =~ /^lost/ } mock_requests('mock') });
my $runner = runner_pid('app');
$node->safe_psql('app', qq(
	DELETE FROM agno.run_queue WHERE run_id LIKE 'lost%';
	SELECT pg_terminate_backend($runner)));
open_gate();
ok( $node->poll_query_until('app', q(
		SELECT count(*) = 50 FROM agno.runs WHERE status = 'COMPLETED'
		AND (run_id LIKE 'hurt%' OR run_id LIKE 'lost%'))),
	'a new runner finds what the queue has lost');
is( $node->safe_psql('app', q(SELECT count(*) FROM
		(SELECT started_at < lag(finished_at) OVER
			(PARTITION BY session_id ORDER BY created_at) AS early
		FROM agno.runs WHERE session_id ~ '^(hurt|lost)') x WHERE early)),
	0, 'the new runner keeps the order of the sessions');
is( $node->safe_psql('app', q(SELECT count(*) FROM agno.run_queue
		WHERE run_id NOT LIKE 'later%')), 0, 'nothing is left in the queue');
is(run_status('later1', 'app'), 'PENDING', 'a scheduled run is left for later');

# Cancelled, by whom no restart helps
$node->safe_psql('app', q(
	INSERT INTO agno.sessions (session_id, owner, created_at, updated_at)
		VALUES ('gone', 'postgres'::regrole, now(), now());
	INSERT INTO agno.runs (run_id, session_id, status, input, model,
		model_provider, owner, priority, attempt, created_at, started_at)
		SELECT 'gone', 'gone', 'RUNNING', 'gone', 'echo', 'mock',
			'postgres'::regrole, 0, 1, now(), now()));
is($node->safe_psql('app', "SELECT agno_cancel_run('gone')"),
	't', 'a lost run can be cancelled');
is( $node->safe_psql('app', "SELECT status FROM agno_wait_run('gone', '5 s')"),
	'CANCELLED', 'a lost run is CANCELLED without a new runner');
is($node->safe_psql('app', 'SELECT count(*) FROM agno.run_signals'),
	0, 'no signal is left');

# The queue first, its run later
$node->safe_psql('app', q(
	INSERT INTO agno.run_queue (accepted_at, run_id, session_id, state, priority, shard)
		VALUES (now(), 'early', 'early', 'r', 0, 0)));
$node->safe_psql('app', "CALL agno_run('x', model => 'mock:echo')") foreach 1 .. 3;
sleep 2;
$node->safe_psql('app', q(
	INSERT INTO agno.sessions (session_id, owner, created_at, updated_at)
		VALUES ('early', 'postgres'::regrole, now(), now());
	INSERT INTO agno.runs (run_id, session_id, status, input, model,
		model_provider, owner, priority, created_at)
		SELECT 'early', 'early', 'PENDING', 'early', 'echo', 'mock',
			'postgres'::regrole, 0, accepted_at
		FROM (SELECT coalesce((SELECT accepted_at FROM agno.run_queue
			WHERE run_id = 'early'), now()) AS accepted_at) q;
	CALL agno_run('x', model => 'mock:echo')));
ok( $node->poll_query_until('app',
		"SELECT status = 'COMPLETED' FROM agno_get_run_output('early')"),
	'a run that came after its queue row is executed');
is( $node->safe_psql('app', q(SELECT count(*) FROM agno.run_queue
		WHERE run_id NOT LIKE 'later%')), 0, 'nothing is left in the queue');

$node->stop;
done_testing();
