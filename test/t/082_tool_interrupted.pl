# What interrupts a tool: agno_cancel_run, also in the moment of the commit and while
# its transaction is open, pg_cancel_backend, the time of the tool and that of the run,
# a tool that does not listen, one that ends its process, deadlocks and serialization
# failures. What had not committed has left nothing, and others are not disturbed.
# Waits: for tools that are interrupted.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE TABLE app.done (run_id text);
	CREATE SEQUENCE app.tries;
	CREATE FUNCTION app.slow(seconds float8) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO app.done VALUES (current_setting('agno_bg.run_id'));
		PERFORM pg_sleep(seconds); RETURN 'slept'; END $$;
	CREATE FUNCTION app.deaf() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
	CREATE FUNCTION app.dies() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		PERFORM nextval('app.tries'); INSERT INTO app.done VALUES ('died');
		PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); RETURN 'alive'; END $$;
	CREATE FUNCTION app.conflicts(times integer) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO app.done VALUES (current_setting('agno_bg.tool_call_id'));
		IF nextval('app.tries') <= times THEN RAISE EXCEPTION 'again' USING ERRCODE = 'deadlock_detected'; END IF;
		RETURN 'well'; END $$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{app.slow,app.deaf,app.dies,app.conflicts}');
	INSERT INTO agno.tools (tool, function, timeout) VALUES ('brief', 'app.slow', '300 ms'), ('deaf', 'app.deaf', '300 ms');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('b', 'mock:tools', '{brief,deaf}')});

sub busy_with
{
	my ($id) = @_;
	return $node->poll_query_until('postgres',
		q(SELECT count(*) > 0 FROM agno.workers WHERE kind = 'tool worker' AND state = 'busy'));
}
sub traces { return value("count(*) FROM app.done WHERE run_id = '$_[0]'"); }

call_tools('cancel', 'a', [ [ [ slow => { seconds => 100 } ] ] ], role => 'app');
busy_with('cancel');
my $start = time;
is(as('app', q(SELECT agno_cancel_run('cancel'))), 't', 'a run whose tool is being called can be cancelled');
expect_run('cancel', { status => 'CANCELLED', content => 'Run cancel was cancelled', 'jsonb_array_length(messages)' => 2 },
	'it ends CANCELLED, and what was said is there');
cmp_ok(time - $start, '<', 5, 'at once');
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.workers WHERE state = 'busy'));
is(traces('cancel'), 0, 'the tool leaves no effect');
is(value(q(status FROM agno.tool_calls WHERE run_id = 'cancel')), 'cancelled', 'the record says so');
is(value('count(*) FROM agno.tool_queue'), 0, 'nothing is left to be done');

# The cancel is in an open transaction when the tool is done.
my $session = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]);
call_tools('open', 'a', [ [ [ slow => { seconds => 1 } ] ] ], role => 'app');
busy_with('open');
$session->query_safe(q(BEGIN; SELECT agno_cancel_run('open')));
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.workers WHERE state = 'busy'));
is(traces('open'), 0, 'no effect is committed while somebody has the run locked to cancel it');
$session->query_safe('COMMIT');
is(wait_run('open'), 'CANCELLED', 'when that commits, the run is CANCELLED');
is(traces('open'), 0, 'and there never is any');
call_tools('back', 'a', [ [ [ slow => { seconds => 2 } ] ] ], role => 'app');
busy_with('back');
$session->query_safe(q(BEGIN; SELECT agno_cancel_run('back')));
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.workers WHERE state = 'busy'));
$session->query_safe('ROLLBACK');
expect_run('back', { status => 'COMPLETED', content => 'Results: slept' }, 'when that rolls back, the tool is called again');
is(traces('back'), 1, 'and its effect is there once');
$session->quit;

call_tools('dba', 'a', [ [ [ slow => { seconds => 100 } ] ] ], role => 'app');
busy_with('dba');
value(q(pg_cancel_backend(pid) FROM agno.workers WHERE state = 'busy'));
expect_run('dba', { status => 'COMPLETED', content => qr/canceling statement due to user request \(SQLSTATE 57014\)/ },
	'pg_cancel_backend() is an error of the tool');
call_tools('time', 'b', [ [ [ brief => { seconds => 100 } ] ] ], role => 'app');
expect_run('time', { status => 'COMPLETED', content => qr/statement timeout \(SQLSTATE 57014\)\nDetail: It took longer than timeout in agno.tools allows, 300 ms\./ }, 'the time of a tool is bounded');
is(traces('time'), 0, 'and what it did is undone');
call_tools('late', 'a', [ [ [ slow => { seconds => 100 } ] ] ], role => 'app', timeout => '1 s');
expect_run('late', { status => 'ERROR', "error ->> 'type'" => 'timeout', 'jsonb_array_length(messages) > 1' => 'true' },
	'the time of the run is over while its tool is called');
is(traces('late'), 0, 'the tool leaves no effect');

# A tool that does not listen is ended with its process, which is an attempt.
$start = time;
call_tools('deaf', 'b', [ [ ['deaf'] ] ], role => 'app', max_attempts => 1);
call_tools('other', 'a', [ [ [ slow => { seconds => 0 } ] ] ], role => 'app');
is(wait_run('other'), 'COMPLETED', 'others go on meanwhile');
expect_run('deaf', { status => 'ERROR', "error ->> 'type'" => 'interrupted', attempt => 1 }, 'a tool that does not end is ended with its process');
cmp_ok(time - $start, '<', 20, 'after a few seconds');

call_tools('dies', 'a', [ [ ['dies'] ] ], role => 'app');
expect_run('dies', { status => 'ERROR', "error ->> 'type'" => 'interrupted', attempt => 3 },
	'a tool that brings its process down costs its run an attempt each time');
like(value('last_value FROM app.tries'), qr/^[34]$/, 'it is called about as often as there are attempts');
is(traces('died'), 0, 'and leaves no effect');

as('app', 'ALTER SEQUENCE app.tries RESTART');
call_tools('deadlock', 'a', [ [ [ conflicts => { times => 3 } ] ] ], role => 'app');
expect_run('deadlock', { status => 'COMPLETED', content => 'Results: well', attempt => 1 }, 'deadlocks are tried again');
is(value(q(count(*) FROM app.done d JOIN agno.tool_calls c ON c.tool_call_id = d.run_id WHERE c.run_id = 'deadlock')), 1,
	'with the same id of the call, and one effect');
call_tools('hopeless', 'a', [ [ [ conflicts => { times => 1000 } ] ] ], role => 'app');
expect_run('hopeless', { status => 'COMPLETED', content => qr/again \(SQLSTATE 40P01\)/ }, 'but not for ever');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

done_testing();
