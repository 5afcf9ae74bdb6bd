# A call without arguments and a tool without a schema, as a damaged copy may have them,
# crash nobody.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_tool_workers = 0\n");
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q(
	CREATE FUNCTION same(x int DEFAULT 7) RETURNS int LANGUAGE sql AS 'SELECT x';
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{public.same}')));
$node->safe_psql('postgres', qq(SELECT agno_arun('{"calls":[[{"name":"same","arguments":{"x":1}}]]}', agent_id => 'a', run_id => '$_')))
  foreach 'arguments', 'schema';
wait_until('their calls', sub { value('count(*) FROM agno.tool_queue') == 2 });
$node->safe_psql('postgres', q(
	UPDATE agno.tool_calls SET arguments = NULL WHERE run_id = 'arguments';
	UPDATE agno.run_requests SET tools = '[{"name":"same","function":"public.same(integer)"}]' WHERE run_id = 'schema'));
configure(max_tool_workers => 2);
expect_run($_, { status => 'COMPLETED', attempt => 1 }, "without $_ the run goes on") foreach 'arguments', 'schema';
is(value(q(result FROM agno.tool_calls WHERE run_id = 'arguments')), 7, 'there are none');
is(value(q(error ~ 'does not exist' FROM agno.tool_calls WHERE run_id = 'schema')), 't', 'there is no such tool');
ok(!$node->log_contains('terminated by signal'), 'nobody has crashed');

$node->stop;
done_testing();
