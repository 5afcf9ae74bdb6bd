# A model calls a tool that does not exist, a thousand times in each answer, and the role
# has no limit of its own that would end that: the run ends, since each of its turns takes
# the runner more time than the last.

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
as('app', q(INSERT INTO agno.tools (tool, external_execution) VALUES ('ext', true);
	INSERT INTO agno.agents (agent_id, model, tools, tool_call_limit) VALUES ('asks', 'mock:tools', '{ext}', 1000000)));
call_tools('r', 'asks', [ map { [ map { ['nope'] } 1 .. 1000 ] } 1 .. 13 ], role => 'app');
expect_run('r', { status => 'ERROR', "error ->> 'type'" => 'tool_call_limit', "error ->> 'message'" => qr/10000/ }, 'it ends');
is(value(q(count(*) FROM agno.tool_calls)), 10000, 'after so many calls');
call_tools('few', 'asks', [ [ ['nope'] ] ], role => 'app');
expect_run('few', { status => 'COMPLETED' }, 'few calls do no harm');
$node->stop;
done_testing();
