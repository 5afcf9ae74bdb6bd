# What people say of the calls of a run is bounded, all of it together: a note for a
# thousand calls is kept a thousand times, and read at once. So is the schema of what
# they are asked for, which each call keeps.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.max_input_size = 1MB\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(CREATE SCHEMA app AUTHORIZATION app));
as('app', q(INSERT INTO agno.tools (tool, external_execution) VALUES ('ext', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('ext', 'mock:tools', '{ext}')));
call_tools('many', 'ext', [ [ map { ['ext'] } 1 .. 90 ] ], role => 'app');
is(wait_run('many'), 'PAUSED', 'a run waits for many calls');
is(outcome_as('app', q(SELECT agno_reject_call('many', NULL, repeat('x', 20000)))), '53400', 'a note that is too long for all of them');
is(value(q(count(*) FROM agno.requirements WHERE decision IS NOT NULL)), 0, 'decides nothing');
as('app', q(SELECT agno_reject_call('many', NULL, repeat('x', 10000))));
expect_run('many', { status => 'COMPLETED' }, 'a shorter one does');

as('app', q{
	CREATE FUNCTION app.pay(amount integer, lim integer) RETURNS text LANGUAGE sql AS $$ SELECT 'paid' $$;
	DO $x$ BEGIN EXECUTE format('COMMENT ON FUNCTION app.pay IS %L', E'Pays.\n\nArgs:\n    amount: a\n    lim: ' || repeat('x', 100000)); END $x$;
	INSERT INTO agno.tools (tool, function, requires_user_input) VALUES ('pay', 'app.pay', '{lim}')});
is(outcome_as('app', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('pay', 'mock:tools', '{pay}'); SELECT agno_arun('x', 'pay'))), '53400', 'nor is anybody asked at any length');
$node->stop;
done_testing();
