# What a run would leave to its session, having called tools, is refused by a constraint that a
# DBA has added to agno.sessions. The run ends nevertheless when it is cancelled, times out or is
# given up, whatever it waits for, and stays CANCELLED if it has been; its session goes on; and others
# whose server cannot be reached are given up beside it.
# Waits: for cancels that are tried again after 30 s.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
add_mock_server(start_mock('leaves'), name => 'leaves', options => ", unreachable_patience '1s'");
make_user(qw(app other));
$node->safe_psql('postgres', 'CREATE SCHEMA t AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION t.bump() RETURNS text LANGUAGE sql AS $$
		SELECT agno_update_session_state(jsonb_build_object('n', coalesce((agno_session_state() ->> 'n')::int, 0) + 1))::text $$;
	CREATE FUNCTION t.nap(seconds int) RETURNS text LANGUAGE sql AS $$ SELECT pg_sleep(seconds)::text $$;
	CREATE FUNCTION t.held() RETURNS text LANGUAGE sql AS $$ SELECT pg_advisory_xact_lock(1)::text $$;
	CREATE FUNCTION t.confirmed() RETURNS text LANGUAGE sql AS $$ SELECT 'yes' $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('confirmed', 't.confirmed', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('counts', 'mock:tools', '{t.bump,t.nap,confirmed}'),
		('left', 'leaves:tools', '{t.bump,t.held}')});

my @bumps = ([ ['bump'] ], [ ['bump'] ]);
my $nap = [ [ 'nap', '{"seconds": 60}' ] ];
my @cancelled = qw(paused one two locked at-tool in-flight);
my @failed = qw(late unreached);

sub counts
{
	my ($run, $then, %arguments) = @_;

	call_tools($run, delete $arguments{agent} // 'counts', [ @bumps, $then ], session_id => $run, role => 'app', %arguments);
	return;
}

sub wait_for_status
{
	my ($run, $status) = @_;

	wait_until("$run to be $status", sub { value("status FROM agno.runs WHERE run_id = '$run'") eq $status });
	return;
}

sub wait_for_tool
{
	my ($run) = @_;

	wait_until("$run to call its tool", sub { value(qq(count(*) FROM agno.tool_calls WHERE run_id = '$run' AND tool IN ('nap', 'held') AND status = 'pending')) });
	return;
}

counts($_, [ ['confirmed'] ]) for qw(paused one two locked);
counts('at-tool', $nap);
counts('late', $nap, timeout => '20s');
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(1)');
counts('unreached', [ ['held'] ], agent => 'left');
as('app', q(SELECT agno_arun('in flight', model => 'mock:hang', run_id => 'in-flight', session_id => 'in-flight', session_state => '{"n": 2}')));
wait_for_status($_, 'PAUSED') for qw(paused one two locked);
wait_for_tool($_) for qw(at-tool late unreached);
wait_for_request('in flight');
stop_mock('leaves');
as('other', q(SELECT agno_arun('x', model => 'leaves:echo', run_id => 'beside')));
$node->safe_psql('postgres', q(ALTER TABLE agno.sessions ADD CONSTRAINT few CHECK ((session_state ->> 'n')::int < 2)));
$lock->quit;

# Somebody locks a run that has been cancelled before the runner can.
my $canceller = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]);
my $holder = $node->background_psql('postgres');
$canceller->query_safe(q(BEGIN; SELECT agno_cancel_run('locked')));
$holder->query_until(qr/asked/, "\\echo asked\nBEGIN; SELECT 1 FROM agno.runs WHERE run_id = 'locked' FOR UPDATE;\n");
wait_until('somebody to wait for the lock', sub { value(q(count(*) FROM pg_stat_activity WHERE query ~ 'FOR UPDATE' AND wait_event_type = 'Lock')) });
my $runner = runner_pid();
kill 'STOP', $runner;
$canceller->query_safe('COMMIT');
$canceller->quit;
$holder->query_safe('SELECT 1');
kill 'CONT', $runner;
wait_until('the run to be set aside', sub { value(q(cancelled FROM agno.run_queue WHERE run_id = 'locked')) eq 't' });
$holder->query_safe('COMMIT');
$holder->quit;

as('app', q(SELECT agno_cancel_run('paused')));
as('app', q(SELECT agno_cancel_run('one'), agno_cancel_run('two')));
as('app', q(SELECT agno_cancel_run('at-tool')));
as('app', q(SELECT agno_cancel_run('in-flight')));
wait_until('all to have left the queue', sub { value('count(*) FROM agno.run_queue') == 0 });
is(value("status, error FROM agno.runs WHERE run_id = '$_'"), 'CANCELLED|', "$_ is CANCELLED") for @cancelled;
is(value("content FROM agno.runs WHERE run_id = 'in-flight'"), 'Run in-flight was cancelled', 'and says so');
is(value("status, error ->> 'type' FROM agno.runs WHERE run_id = '$_'"), 'ERROR|storage', "$_ has failed, and says why") for @failed;
like(value(q(error ->> 'message' FROM agno.runs WHERE run_id = 'unreached')), qr/violates check constraint "few"/, 'as the database does');
is(value(q(status, error ->> 'type' FROM agno.runs WHERE run_id = 'beside')), 'ERROR|connection', 'another run is given up beside it');
foreach my $session (@cancelled, @failed)
{
	as('app', "SELECT agno_arun('next', model => 'mock:echo', run_id => '$session-next', session_id => '$session')");
	is(wait_run("$session-next"), 'COMPLETED', "the session of $session goes on");
}

# Very many of them, which a deferred trigger refuses
$node->safe_psql('postgres', q(
	ALTER TABLE agno.sessions DROP CONSTRAINT few;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF (NEW.session_state ->> 'n')::int > 0 THEN RAISE EXCEPTION 'refused'; END IF; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON agno.sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()));
as('app', q(SELECT count(r.run_id) FROM generate_series(1, 300) i, agno_arun('{"id": "many-' || i || '", "calls": [[{"name": "bump", "arguments": "{}"}], [{"name": "confirmed", "arguments": "{}"}]]}',
	agent_id => 'counts', run_id => 'many-' || i) r));
wait_until('all to be PAUSED', sub { value(q(count(*) FROM agno.runs WHERE run_id ~ '^many' AND status = 'PAUSED')) == 300 });
as('app', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE run_id ~ '^many'));
cmp_ok(longest_call('other', sub { value('count(*) FROM agno.run_queue') == 0 }), '<', 2.5, 'others do not wait for very many of them');
is(value(q(count(*) FROM agno.runs WHERE run_id ~ '^many' AND status = 'CANCELLED')), 300, 'which are CANCELLED');
is(value(q(count(*) FROM agno.runs WHERE owner = 'other'::regrole AND status <> 'COMPLETED' AND run_id <> 'beside')), 0, 'and nothing of others is refused for it');

# And one that exceeds a limit, as a queue of notifications does that is full
$node->safe_psql('postgres', q(
	CREATE FUNCTION exceed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.content ~ 'too much' THEN RAISE EXCEPTION USING ERRCODE = '54000', MESSAGE = 'that is too much'; END IF; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER exceed AFTER UPDATE ON agno.runs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION exceed()));
as('app', q(SELECT agno_arun('too much', model => 'mock:echo', run_id => 'exceeds')));
expect_run('exceeds', { status => 'ERROR', "error ->> 'type'" => 'storage' }, 'a run that exceeds a limit at the commit ends');
is(as('other', q(CALL agno_run('x', model => 'mock:echo', run_id => 'goes on'))) =~ /COMPLETED/ ? 1 : 0, 1, 'and others go on');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
