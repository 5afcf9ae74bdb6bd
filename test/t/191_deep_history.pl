# A model gives a call arguments that nest deeper than a stack allows. They are
# refused; and the conversation goes on, also with a server whose API wants
# arguments as JSON.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
make_user('app');
$node->safe_psql('postgres', qq(CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-chat', base_url '$url');
	CREATE SERVER claude FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'anthropic', base_url '$url'); GRANT USAGE ON FOREIGN SERVER chat, claude TO app;
	CREATE FUNCTION length_of(x jsonb) RETURNS integer LANGUAGE sql AS 'SELECT jsonb_array_length(x)'));
as('app', q(INSERT INTO agno.agents (agent_id, model, tools, add_history_to_context)
	SELECT s, s || ':tools', '{public.length_of}', true FROM unnest('{chat,claude}'::text[]) s));

call_tools('deep', 'chat', [ [ [ length_of => '{"x":' . '[' x 100000 ] ] ], role => 'app', session_id => 's');
expect_run('deep', { status => 'COMPLETED' }, 'arguments that nest too deep are refused');
is(as('app', q(SELECT status FROM agno.tool_calls WHERE run_id = 'deep')), 'refused', 'as what is no JSON');
call_tools('after', 'claude', [ [ [ length_of => { x => [ 1, 2 ] } ] ] ], role => 'app', session_id => 's');
expect_run('after', { status => 'COMPLETED', content => 'Results: 2' }, 'and are no obstacle in the history');
$node->stop;
done_testing();
