# The tools of a run are to be called, but somebody has their turn locked until the run is over:
# nothing of it is left when a tool worker comes by.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_tool_workers = 0\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(
	CREATE FUNCTION says(k text) RETURNS text LANGUAGE sql AS 'SELECT k';
	SET ROLE app;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('calls', 'mock:tools', '{public.says}')));
my $calls = '{"calls": [[{"name": "says", "arguments": {"k": "a"}}]]}';
my $dba = $node->background_psql('postgres');

enqueue('late', 'mock:tools', role => 'app', agent_id => 'calls', input => $calls, timeout => '2 s');
wait_until('its tools to be called', sub { value('count(*) FROM agno.tool_queue') == 1 });
$dba->query_safe(q(BEGIN; SELECT run_id FROM agno.tool_queue WHERE run_id = 'late' FOR UPDATE));
expect_run('late', { status => 'ERROR', "error ->> 'type'" => 'timeout' }, 'it is over');
$dba->query_safe('COMMIT');
is(value('count(*) FROM agno.tool_queue'), 1, 'its turn is not');
configure(max_tool_workers => 4);
enqueue('next', 'mock:tools', role => 'app', agent_id => 'calls', input => $calls);
expect_run('next', { status => 'COMPLETED' }, 'a tool worker comes by');
wait_until('the turn to be gone', sub { value('count(*) FROM agno.tool_queue') == 0 });
pass('nothing is left');

$dba->quit;
$node->stop;
done_testing();
