# Code of a role that is executed while a query's rows become JSON, a cast, closes all
# cursors, or the one that is just being read: the query fails, and the server stands.

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
$node->safe_psql('postgres', q(CREATE SCHEMA app AUTHORIZATION app));
as('app', q{
	CREATE TYPE app.e AS ENUM ('x', 'y');
	CREATE FUNCTION app.e_json(app.e) RETURNS json LANGUAGE plpgsql AS $$
	BEGIN EXECUTE 'CLOSE ALL'; RETURN '1'::json; END $$;
	CREATE CAST (app.e AS json) WITH FUNCTION app.e_json(app.e);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('sql', 'mock:tools', '{agno.run_sql_query}')});
my $query = q(SELECT 'x'::app.e AS c FROM generate_series(1, 1000));
my $postmaster = value('pg_postmaster_start_time()');
is(outcome_as('app', "SELECT count(*) FROM agno.run_sql_query(\$\$$query\$\$, 10000)"), '24000', 'the cursor of a query is not closed below it');
call_tools('closes', 'sql', [ [ [ run_sql_query => { query => $query, max_rows => 10000 } ] ] ], role => 'app');
expect_run('closes', { status => 'COMPLETED', attempt => 1, content => qr/24000/ }, 'nor if it is a tool');
is(value('pg_postmaster_start_time()'), $postmaster, 'the server has not crashed');
is(value(q(state FROM agno.workers WHERE kind = 'runner')), 'running', 'the runner is there');
$node->stop;
done_testing();
