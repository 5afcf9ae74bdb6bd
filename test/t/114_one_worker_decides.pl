# With a single tool worker: a call that was decided about after a later one of its answer
# had been made is made as well, by the process that has made the later one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.max_tool_workers = 1');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION app.note(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'noted ' || what $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('careful', 'app.note', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{app.note,careful}');});
foreach my $run (1 .. 5)
{
	call_tools($run, 'a', [ [ [ careful => { what => 'first' } ], [ note => { what => 'second' } ] ] ], role => 'app');
	is(wait_run($run), 'PAUSED', 'the first call waits, the second is made');
	as('app', qq(SELECT agno_approve_call('$run')));
	expect_run($run, { status => 'COMPLETED', content => 'Results: noted first; noted second' }, 'then the first');
}
done_testing();
