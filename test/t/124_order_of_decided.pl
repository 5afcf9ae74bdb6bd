# Calls of an answer that were decided about are made in their order, even by a tool
# worker that has just made another one of the same answer.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_tool_workers = 1\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE TABLE app.made (place serial, n integer);
	CREATE FUNCTION app.act(n integer) RETURNS integer LANGUAGE sql AS 'INSERT INTO app.made (n) VALUES (n) RETURNING n';
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('gate', 'app.act', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{app.act,gate}')});
call_tools('run', 'a', [ [ [ gate => { n => 1 } ], [ act => { n => 2 } ], [ gate => { n => 3 } ], [ gate => { n => 4 } ] ] ], role => 'app');
ok($node->poll_query_until('postgres', q(SELECT status = 'PAUSED' FROM agno.runs WHERE run_id = 'run')), 'a run with three calls to decide about');
is(value(q(string_agg(n::text, ' ' ORDER BY place) FROM app.made)), '2', 'the other one has been made');
my $worker = value(q(pid FROM agno.workers WHERE kind = 'tool worker'));
as('app', q(SELECT agno_approve_call(run_id, tool_call_id) FROM agno.approvals WHERE run_id = 'run'));
expect_run('run', { status => 'COMPLETED' }, 'all are approved of');
is(value(q(string_agg(n::text, ' ' ORDER BY place) FROM app.made)), '2 1 3 4', 'they are made in their order');
is(value(q(pid FROM agno.workers WHERE kind = 'tool worker')), $worker, 'by the same worker');
done_testing();
