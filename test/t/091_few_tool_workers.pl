# Tool workers are started as far as there is work for them, go home when fewer are
# allowed, and are shared by roles even if there is one only: a call that is in
# others' way is put off a few times, and then it has failed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.tool_timeout = '1s'\n");
add_mock_server(start_mock('mock'));
make_user('hog', 'late');
$node->safe_psql('postgres', q{
	CREATE FUNCTION nap(seconds float8) RETURNS text LANGUAGE sql AS $$
		SELECT 'slept' || coalesce(pg_sleep(seconds)::text, '') $$;
	INSERT INTO agno.tools (tool, function, timeout) VALUES ('long', 'public.nap', '1 day');
	GRANT ALL ON agno.tools TO hog;
	UPDATE agno.tools SET owner = 'hog'});
as('hog', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('hog', 'mock:tools', '{long}')));
as('late', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('late', 'mock:tools', '{public.nap}')));

sub workers { return value(q(count(*) FROM agno.workers WHERE kind = 'tool worker')); }
sub wait_for_workers
{
	my ($condition) = @_;
	return $node->poll_query_until('postgres', "SELECT $condition FROM agno.workers WHERE kind = 'tool worker'");
}
sub nap
{
	my ($id, $role, $seconds) = @_;
	call_tools($id, $role, [ [ [ ($role eq 'hog' ? 'long' : 'nap') => { seconds => $seconds } ] ] ], role => $role);
}

# As many as there is work for
nap('first', 'late', 0);
is(wait_run('first'), 'COMPLETED', 'a run calls a tool');
is(workers(), 1, 'with one worker');
nap("side-$_", 'late', 0.7) foreach 1 .. 3;
ok(wait_for_workers(q(count(*) FILTER (WHERE state = 'busy') = 3)), 'three calls have three');
is(as('late', "SELECT running, waiting_for FROM agno.top WHERE running > 0"), '3|',
	'and their runs wait for none');
wait_run("side-$_") foreach 1 .. 3;

# Fewer are allowed
configure(max_tool_workers => 1);
ok(wait_for_workers('count(*) = 1'), 'when fewer are allowed, those that rest go home at once');
configure(max_tool_workers => 0);
ok(wait_for_workers('count(*) = 0'), 'all of them, if need be');
nap('none', 'late', 0);
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM agno.tool_queue');
is(run_status('none'), 'RUNNING', 'then runs wait');
is(as('late', "SELECT running, waiting, waiting_for, oldest FROM agno.top WHERE running > 0"), '1|0|a tool worker (1)|',
	'agno.top says what for');
configure(max_tool_workers => 1);
is(wait_run('none'), 'COMPLETED', 'until one is allowed');

# One worker
nap('alone', 'hog', 2.5);
expect_run('alone', { status => 'COMPLETED', content => 'Results: slept' }, 'a tool that has been given more time has it while nobody else waits');
nap('day', 'hog', 80000);
foreach my $round (1 .. 4)
{
	wait_for_workers(q(count(*) FILTER (WHERE role = 'hog' AND state = 'busy') = 1));
	my $start = time;
	nap("late-$round", 'late', 0);
	is(wait_run("late-$round"), 'COMPLETED', "another role gets the only worker: $round");
	cmp_ok(time - $start, '<', 5, 'soon');
}
expect_run('day', { status => 'COMPLETED', attempt => 1, content => qr/since other roles wait for a tool worker \(SQLSTATE 57014\)/ },
	'a call that was in the way of others too often has failed');

# Two workers, one of which does not change hands
configure(max_tool_workers => 2);
nap("pair-$_", 'hog', 80000) foreach 1 .. 2;
wait_for_workers(q(count(*) FILTER (WHERE role = 'hog' AND state = 'busy') = 1));
nap("mine-$_", 'late', 0.1) foreach 1 .. 5;
is(wait_run("mine-$_"), 'COMPLETED', "of two workers, each role has one: $_") foreach 1 .. 5;
is(value(q(count(*) FROM agno.runs WHERE run_id LIKE 'pair-%' AND status = 'RUNNING' AND attempt = 1)), 2, 'and the others wait');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

done_testing();
