# Tools have said something about the state of a session, and their calls are committed. It stays,
# and what the answers have cost is counted, however the run ends: it is cancelled or times out
# while its next tool is called, is cancelled while somebody has something to decide, or its model
# server cannot be reached any more. What has gone into the session is not added to it again, over
# what came later, when the run is requeued.

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
my $url = start_mock('leaves');
add_mock_server($url, name => 'patient');
add_mock_server($url, name => 'leaves', options => ", unreachable_patience '1s'");
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA t AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION t.bump() RETURNS text LANGUAGE sql AS $$
		SELECT agno_update_session_state(jsonb_build_object('n', coalesce((agno_session_state() ->> 'n')::int, 0) + 1))::text $$;
	CREATE FUNCTION t.nap(seconds int) RETURNS text LANGUAGE sql AS $$ SELECT pg_sleep(seconds)::text $$;
	CREATE FUNCTION t.confirmed() RETURNS text LANGUAGE sql AS $$ SELECT 'yes' $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('confirmed', 't.confirmed', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('counts', 'mock:tools', '{t.bump,t.nap,confirmed}'),
		('left', 'leaves:tools', '{t.bump,t.nap}'), ('patient', 'patient:tools', '{t.bump,t.nap,confirmed}')});

my @bumps = ([ ['bump'] ], [ ['bump'] ]);
my $nap = [ [ 'nap', '{"seconds": 60}' ] ];

# A run of a session of its own, whose first two calls count.
sub counts
{
	my ($run, $then, %arguments) = @_;

	call_tools($run, delete $arguments{agent} // 'counts', [ @bumps, $then ], session_id => $run, role => 'app', %arguments);
	return;
}

sub wait_for_nap
{
	my ($run) = @_;

	wait_until("$run to call its tool", sub { value(qq(count(*) FROM agno.tool_calls WHERE run_id = '$run' AND tool = 'nap' AND status = 'pending')) });
	return;
}

# The run has ended like this, and its session has what the tools have said.
sub check
{
	my ($run, $status, $name, $state) = @_;

	expect_run($run, { status => $status }, $name);
	is(value(qq(session_state FROM agno.sessions WHERE session_id = '$run')), $state // '{"n": 2}', "$name: its session has the state");
	is( value(qq(session_metrics -> 'total_tokens' FROM agno.sessions WHERE session_id = '$run')),
		value(qq(sum((metrics ->> 'total_tokens')::int) FROM agno.runs WHERE session_id = '$run')),
		"$name: and what the answers have cost");
	return;
}

call_tools('goes-on', 'patient', [ @bumps, [ ['confirmed'] ], [ ['bump'] ], [ [ 'nap', '{"seconds": 4}' ] ] ],
	session_id => 'goes-on', role => 'app');
wait_until('somebody to have to decide about it', sub { value(q(status FROM agno.runs WHERE run_id = 'goes-on')) eq 'PAUSED' });
as('app', q(SELECT agno_approve_call('goes-on')));
counts('at-tool', $nap, session_state => '{"given": true}');
counts('late', $nap, timeout => '3s');
counts('decides', [ ['confirmed'] ]);
counts('unreached', [ [ 'nap', '{"seconds": 4}' ] ], agent => 'left');

wait_for_nap($_) for qw(goes-on unreached);
stop_mock('leaves');
wait_for_nap('at-tool');
as('app', q(SELECT agno_cancel_run('at-tool')));
check('at-tool', 'CANCELLED', 'a run that is cancelled while a tool is called', '{"n": 2, "given": true}');
wait_until('somebody to have to decide', sub { value(q(status FROM agno.runs WHERE run_id = 'decides')) eq 'PAUSED' });
as('app', q(SELECT agno_cancel_run('decides')));
check('decides', 'CANCELLED', 'a run that is cancelled while somebody decides');
wait_until('the other to wait for its server', sub { value(q(status FROM agno.runs WHERE run_id = 'goes-on')) eq 'PENDING' });
as('app', q(SELECT agno_cancel_run('goes-on')));
check('goes-on', 'CANCELLED', 'a run that is cancelled while it waits for its server, having gone on since somebody decided', '{"n": 3}');
is(value(q(jsonb_array_length(tools) FROM agno.runs WHERE run_id = 'goes-on')), '5', 'it tells of its calls since then');
check('late', 'ERROR', 'a run that times out while a tool is called');
check('unreached', 'ERROR', 'a run whose server cannot be reached any more');
is(value(q(jsonb_array_length(tools) FROM agno.runs WHERE run_id = 'unreached')), '3', 'it tells of its calls');

# Another run goes on with the session; then the first one is requeued.
call_tools('next', 'counts', \@bumps, session_id => 'late', role => 'app');
expect_run('next', { status => 'COMPLETED' }, 'another run of the session');
is(value(q(session_state FROM agno.sessions WHERE session_id = 'late')), '{"n": 4}', 'goes on with its state');
as('app', q(SELECT agno_requeue_run('late')));
wait_until('the first run to be over again', sub { value(q(status FROM agno.runs WHERE run_id = 'late')) =~ /COMPLETED|ERROR/ });
is(value(q(session_state FROM agno.sessions WHERE session_id = 'late')), '{"n": 4}', 'a run that is requeued does not put back what was before');

# Two runs of a session are cancelled together: one that waits behind the other, and has called
# tools before.
counts('first', $nap, timeout => '3s', session_id => 'both');
expect_run('first', { status => 'ERROR' }, 'a run times out');
counts('second', [ ['confirmed'] ], session_id => 'both');
wait_until('somebody to have to decide about the second', sub { value(q(status FROM agno.runs WHERE run_id = 'second')) eq 'PAUSED' });
as('app', q(SELECT agno_requeue_run('first')));
as('app', q(SELECT agno_cancel_run('second'), agno_cancel_run('first')));
wait_until('both to have left the queue', sub { value('count(*) FROM agno.run_queue') == 0 });
is(value(q(session_state FROM agno.sessions WHERE session_id = 'both')), '{"n": 4}', 'the session has the state of the later one');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
