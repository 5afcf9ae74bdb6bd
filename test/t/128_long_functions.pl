# Functions whose calls somebody decides about: what tells one from another is found out
# by who enqueues a run, not by the runner that all roles share; it has a bound; and a
# function that is replaced while its run is in flight is asked about once more.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_input_size = 1MB\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(CREATE SCHEMA app AUTHORIZATION app));
as('app', q{
	DO $x$ BEGIN
		EXECUTE 'CREATE FUNCTION app.long() RETURNS integer LANGUAGE sql AS ' || quote_literal('SELECT 1 --' || repeat('x', 2000000));
		EXECUTE 'CREATE FUNCTION app.medium() RETURNS integer LANGUAGE sql AS ' || quote_literal('SELECT 1 --' || repeat('x', 1000000));
	END $x$;
	INSERT INTO agno.agents (agent_id, model, tools, requires_confirmation) VALUES
		('long', 'mock:tools', '{app.long}', '{app.long}'), ('free', 'mock:tools', '{app.long}', NULL),
		('medium', 'mock:tools', '{app.medium}', '{app.medium}')});
is(outcome_as('app', q(SELECT agno_arun('x', 'long'))), '53400', 'no calls of a function of any length are decided about');
call_tools('free', 'free', [ [ ['long'] ] ], role => 'app');
expect_run('free', { status => 'COMPLETED', content => 'Results: 1' }, 'without a decision it may be called');

# So the runner has nothing to read of it.
call_tools('first', 'medium', [ [ ['medium'] ] ], role => 'app');
is(wait_run('first'), 'PAUSED', 'a function of such length');
my $before = status_of(runner_pid(), 'VmHWM');
call_tools('many', 'medium', [ [ map { ['medium'] } 1 .. 300 ] ], role => 'app');
is(wait_run('many'), 'PAUSED', 'three hundred calls are decided about');
cmp_ok(status_of(runner_pid(), 'VmHWM') - $before, '<', 50000, 'its runner has read none of it for that (kB)');

# Replaced between the request and the call
as('app', q(CREATE FUNCTION app.pay() RETURNS text LANGUAGE sql AS $$ SELECT 'little' $$;
	INSERT INTO agno.agents (agent_id, model, tools, requires_confirmation) VALUES ('payer', 'mock:tools', '{app.pay}', '{app.pay}')));
call_tools('replaced', 'payer', [ [ ['pay'] ] ], role => 'app');
is(wait_run('replaced'), 'PAUSED', 'a call waits');
as('app', q(CREATE OR REPLACE FUNCTION app.pay() RETURNS text LANGUAGE sql AS $$ SELECT 'much' $$; SELECT agno_approve_call('replaced')));
ok($node->poll_query_until('postgres', q(SELECT status = 'PAUSED' AND (SELECT count(*) = 1 FROM agno.requirements WHERE run_id = 'replaced' AND decision IS NULL) FROM agno.runs WHERE run_id = 'replaced')),
	'a function that has been replaced is asked about again');
as('app', q(SELECT agno_approve_call('replaced')));
expect_run('replaced', { status => 'COMPLETED', content => 'Results: much' }, 'and called then');
$node->stop;
done_testing();
