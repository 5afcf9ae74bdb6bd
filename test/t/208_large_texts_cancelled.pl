# Many streamed runs that have said much wait for somebody, and are cancelled at once: what
# those who follow them are told of their ends is read as far as a turn may have it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (36, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
as('app', q(INSERT INTO agno.tools (tool, external_execution) VALUES ('ext', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('asks', 'mock:tools', '{ext}')));
as('app', "SELECT count(agno_arun(json_build_object('say', json_build_array(repeat('x', 3000000)), 'calls', '[[{\"name\": \"ext\", \"arguments\": {}}]]'::json)::text, 'asks', stream => true)) FROM generate_series(1, $runs)");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'PAUSED'"), 'all wait for somebody');
# One that has no memory left from before.
ok(replace_runner(), 'the runner is replaced');
my $runner = runner_pid();
PostgreSQL::Test::Utils::append_to_file("/proc/$runner/clear_refs", '5');
my $before = status_of($runner, 'VmHWM');
as('app', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs));
as('boss', q(CALL agno_run('x', model => 'mock:echo')));
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.run_events WHERE event = 'RunCancelled'"), 'all are cancelled, and told of');
is(runner_pid(), $runner, 'by the same runner');
my $after = status_of($runner, 'VmHWM');
note($after - $before);
cmp_ok($after - $before, '<', 250000, 'without all of them in memory (kB)');
is(value(q(count(*) FROM agno.run_events WHERE event = 'RunCompleted' AND length(data ->> 'content') = 3000000)), $runs, 'with what they have said');
is($node->safe_psql('postgres', queue_violations()), '', 'nothing is stuck');
$node->stop;
done_testing();
