# Calls of tools fail with an error that says that they may be tried again, each time: that
# is done five times, however many there are, whatever other calls are made in between.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.max_tool_workers = 2');
my $mock = start_mock('mock');
add_mock_server($mock);
make_user('app');
$node->safe_psql('postgres', q(
	CREATE SCHEMA app AUTHORIZATION app;
	SET ROLE app;
	CREATE SEQUENCE app.tries;
	CREATE FUNCTION app.fails(word text) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN PERFORM nextval('app.tries'); RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$;
	CREATE FUNCTION app.works(word text) RETURNS text LANGUAGE sql AS 'SELECT word';
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('agent', 'mock:tools', '{app.fails,app.works}')));
# The second call of each has tries of its own.
call_tools("run$_", 'agent', [ [ [ 'fails', { word => 'x' } ], [ 'works', { word => 'y' } ], [ 'fails', { word => 'z' } ] ] ], role => 'app')
  foreach 1 .. 4;
ok($node->poll_query_until('postgres', q(SELECT count(*) = 4 FROM agno.runs WHERE status = 'COMPLETED')), 'all runs end');
is(value(q(count(*) FROM agno.tool_calls WHERE status = 'error' AND sqlstate = '40001')), 8, 'with the errors of their tools');
is(value(q(count(*) FROM agno.tool_calls WHERE status = 'completed')), 4, 'and the results');
is(value('last_value FROM app.tries'), 40, 'each is tried five times');

$node->stop;
done_testing();
