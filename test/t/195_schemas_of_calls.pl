# A run whose model calls a tool a thousand times, with arguments for people to give
# that much is said of, keeps as many of those calls as have 1 MB of it: neither the
# runner's memory nor the time of others is taken by the rest.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q(CREATE FUNCTION app.ui(a text, b text) RETURNS text LANGUAGE sql AS 'SELECT a || b';
	DO $$ BEGIN EXECUTE format('COMMENT ON FUNCTION app.ui IS %L', E'Asks.\n\nArgs:\n    b: ' || repeat('b', 64000)); END $$;
	INSERT INTO agno.tools (tool, function, requires_user_input) VALUES ('ui', 'app.ui(text,text)', '{b}');
	INSERT INTO agno.agents (agent_id, model, tools, tool_call_limit) VALUES ('asks', 'mock:tools', '{ui}', 1000)));
call_tools('before', 'asks', [ [ [ 'ui', { a => 'x' } ] ] ], role => 'app');
ok($node->poll_query_until('postgres', q(SELECT status = 'PAUSED' FROM agno.runs WHERE run_id = 'before')), 'a run waits for somebody');
my $before = status_of(runner_pid(), 'VmHWM');

call_tools('many', 'asks', [ [ ([ 'ui', { a => 'x' } ]) x 1000 ] ], role => 'app');
ok($node->poll_query_until('postgres', q(SELECT status = 'PAUSED' FROM agno.runs WHERE run_id = 'many')), 'so does one of very many calls');
my $growth = status_of(runner_pid(), 'VmHWM') - $before;
note("the runner has grown by $growth kB");
cmp_ok($growth, '<', 300_000, 'which takes no memory to speak of');
is(value(q(count(*) FROM agno.requirements WHERE run_id = 'many')), 16, 'it waits for some of them');
is(value(q(count(*) FROM agno.tool_calls WHERE run_id = 'many' AND status = 'refused' AND error LIKE 'Tool call limit reached. People are asked%Tool call ui not executed%')),
	984, 'and the model is told that the others are not made');
as('app', q(SELECT agno_answer_call('many', tool_call_id, '{"b": "y"}') FROM agno.tool_calls WHERE run_id = 'many' AND status = 'paused'));
is(value(q(status FROM agno_wait_run('many'))), 'COMPLETED', 'it goes on');
is(value(q(count(*) FROM agno.tool_calls WHERE run_id = 'many' AND result = 'xy')), 16, 'with those that have been made');

$node->stop;
done_testing();
