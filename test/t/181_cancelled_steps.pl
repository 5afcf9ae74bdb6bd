# Runs whose steps are large are cancelled while their tools are called, all at once: the
# runner reads of them what a turn may have, and others go on meanwhile.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my ($runs, $node) = (60, new_node('main', conf => "agno_bg.max_tool_workers = 2\n"));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
$node->safe_psql('postgres', q(CREATE FUNCTION nap() RETURNS text LANGUAGE sql AS $$ SELECT pg_sleep(1000)::text $$));
as('app', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('naps', 'mock:tools', '{public.nap}')));
as('app', "SELECT count(agno_arun(json_build_object('say', json_build_array(repeat('x', 3000000)), 'calls', '[[{\"name\": \"nap\", \"arguments\": {}}]]'::json)::text, 'naps')) FROM generate_series(1, $runs)");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.tool_queue"), 'all have steps');
cmp_ok(value('sum(octet_length(messages)) FROM agno.run_steps'), '>', $runs * 3000000, 'which are large');
my $before = status_of(runner_pid(), 'VmHWM');
as('app', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs));
my $start = time;
as('boss', q(CALL agno_run('x', model => 'mock:echo')));
cmp_ok(time - $start, '<', 10, 'another role is served meanwhile');
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'CANCELLED'"), 'all are cancelled');
cmp_ok(status_of(runner_pid(), 'VmHWM') - $before, '<', 1000000, 'without all of it in memory (kB)');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is in order');
$node->stop;
done_testing();
