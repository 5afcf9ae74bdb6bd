# A hundred clients put a run into one session at the same moment: all of them
# end, one at a time and in the order of acceptance, and neither the state nor
# the metrics of the session lose anything. (Agno 2.9 leaves 4 of 5 PENDING.)
# The fault: the server crashes in the middle.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => 'max_connections = 130');
add_mock_server(start_mock('mock'));

$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, model, add_history_to_context,
		num_history_runs)
	VALUES ('a', 'mock:slow-5', true, 1)));

# Until all have been accepted, none starts.
configure(paused => 'on');
wait_until('the runner to pause',
	sub { $node->safe_psql('postgres', 'SHOW agno_bg.paused') eq 'on' });

my $script = "$PostgreSQL::Test::Utils::tmp_check/crowd.sql";
PostgreSQL::Test::Utils::append_to_file($script,
	"SELECT agno_arun('run :client_id', 'a', 'crowd', "
	  . "session_state => jsonb_build_object('k' || :client_id, :client_id));\n");
$node->run_log(
	[
		'pgbench', '--no-vacuum', '--file', $script, '--client', '100',
		'--jobs', '2', '--transactions', '1', '--host', $node->host,
		'--port', $node->port, 'postgres'
	]);

is(value("count(*) FROM agno.runs WHERE status = 'PENDING'"),
	'100', 'all runs are accepted');
configure(paused => 'off');

wait_until(
	'some runs to end',
	sub {
		$node->safe_psql('postgres',
			"SELECT count(*) FROM agno.runs WHERE status = 'COMPLETED'") > 20;
	});
$node->stop('immediate');
$node->start;

ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 100 FROM agno.runs WHERE status = 'COMPLETED'"),
	'all runs complete');
is( $node->safe_psql(
		'postgres', q(
		SELECT count(*) FROM (
			SELECT r.created_at, lag(r.created_at) OVER w AS previous,
				r.started_at, lag(r.finished_at) OVER w AS previous_end
			FROM agno.runs r WINDOW w AS (ORDER BY r.finished_at)) r
		WHERE created_at < previous OR started_at < previous_end)),
	'0', 'runs take place one at a time, in the order of acceptance');
is( $node->safe_psql(
		'postgres', q(
		SELECT count(*) FROM agno.sessions, jsonb_object_keys(session_state)
		WHERE session_id = 'crowd')),
	'100', 'no state of a run is lost');
is(value("session_metrics->'total_tokens' FROM agno.sessions"),
	'1800', 'no metrics are lost, and none counted twice');
is( $node->safe_psql(
		'postgres', q(
		SELECT count(*) FROM (
			SELECT messages->0->>'content' AS told,
				lag(input) OVER (ORDER BY created_at) AS before,
				row_number() OVER (ORDER BY created_at) AS n
			FROM agno.runs) r
		WHERE n > 1 AND told <> before)),
	'0', 'each run was told what the one before it said');

done_testing();
