# Tools that nobody can end, since they are code in C that never checks for
# interrupts, do not keep tool workers from other roles: their places are given to
# others, but not to their own role, in whatever database. The fault is a function in
# C that returns when a file is there.
# Waits: for calls whose time is to be over.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.tool_timeout = '1s'\nmax_worker_processes = 24\n");
my $url = start_mock('mock');
my $flag = "$PostgreSQL::Test::Utils::tmp_check/end";
my $library = build_fault('endless');
my $setup = qq{
	CREATE FUNCTION endless(path text) RETURNS text LANGUAGE c STRICT AS '$library';
	CREATE FUNCTION stuck() RETURNS text LANGUAGE sql AS \$\$ SELECT public.endless('$flag') \$\$;
	CREATE FUNCTION quick() RETURNS text LANGUAGE sql AS 'SELECT session_user::text';
	INSERT INTO agno.agents (agent_id, model, tools, owner) VALUES
		('stuck', 'mock:tools', '{public.stuck}', 'stuck'), ('app', 'mock:tools', '{public.quick}', 'app')};
add_mock_server($url);
make_user('stuck', 'app');
new_database('other', $url);
$node->safe_psql('other', q(SELECT agno_grant_usage('stuck'), agno_grant_usage('app')));
$node->safe_psql($_, $setup) foreach qw(postgres other);

sub stuck
{
	my ($id, %more) = @_;
	call_tools($id, 'stuck', [ [ ['stuck'] ] ], role => 'stuck', max_attempts => 1, %more);
}
sub quick
{
	my ($id, %more) = @_;
	call_tools($id, 'app', [ [ ['quick'] ] ], role => 'app', %more);
}
sub wait_for_stuck
{
	my ($count) = @_;
	ok($node->poll_query_until('postgres', "SELECT count(*) = $count FROM agno.workers WHERE role = 'stuck' AND state = 'busy'"),
		"a role has $count of them");
}
sub is_stuck
{
	my ($count, $name) = @_;
	is(value(q(count(*) FROM agno.workers WHERE kind = 'tool worker' AND role = 'stuck')), $count, $name);
}

# All places that one may have
stuck("stuck-$_") foreach 1 .. 6;
wait_for_stuck(3);
my $start = time;
quick('late');
expect_run('late', { status => 'COMPLETED', content => 'Results: app' }, 'tools without end do not keep the workers from others');
cmp_ok(time - $start, '<', 15, 'for longer than it takes to see that they do not end');
my $lost = 'agno_bg tool worker with PID \d+ cannot be ended';
wait_until('the lines in the log', sub { logged($lost) >= 3 });

# The same role in another database
stuck('stuck-other', database => 'other');
quick('late-other', database => 'other');
expect_run('late-other', { status => 'COMPLETED' }, 'nor in another database', database => 'other');
quick("late-$_") foreach 1 .. 10;
is(wait_run("late-$_"), 'COMPLETED', "others go on: $_") foreach 1 .. 10;
is_stuck(3, 'the role itself has no others, in no database');
is(logged($lost), 3, 'the log says so once for each');

# The end: nobody else makes the calls while it is noted.
configure(max_tool_workers => 0);
append_to_file($flag, '');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 3 FROM agno.runs WHERE run_id LIKE 'stuck-%' AND error ->> 'type' = 'interrupted')), 'what was to be ended is an attempt');
configure(max_tool_workers => 4);
is(value(q(count(*) FROM generate_series(1, 6) g, agno_wait_run('stuck-' || g, '60 s') r WHERE r.status = 'COMPLETED')), 3,
	'when they have ended after all, the role has its workers again');
expect_run('stuck-other', { status => 'COMPLETED', content => 'Results: ended' }, 'in all databases', database => 'other');

# One place for all, and calls that others, or a cancel, were to end
unlink $flag;
as('stuck', q(INSERT INTO agno.tools (tool, function, timeout) VALUES ('long', 'public.stuck', '1 day')));
as('stuck', q(UPDATE agno.agents SET tools = '{long}'));
configure(max_tool_workers => 1);
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.workers WHERE kind = 'tool worker' AND state <> 'idle')), 'all is quiet');
call_tools('long-1', 'stuck', [ [ ['long'] ] ], role => 'stuck');
wait_for_stuck(1);
quick('one');
is(wait_run('one'), 'COMPLETED', 'of one place for all, too');
value(q(agno_cancel_run('long-1')));
configure(max_tool_workers => 3);
call_tools('long-2', 'stuck', [ [ ['long'] ] ], role => 'stuck');
quick("two-$_") foreach 1 .. 3;
is(wait_run("two-$_"), 'COMPLETED', "nor with those that a cancel was to end: $_") foreach 1 .. 3;
is_stuck(1, 'as long as it has one, the role gets no other');
value(q(agno_cancel_run('long-2')));
append_to_file($flag, '');
is(wait_run($_), 'CANCELLED', "$_ ends at last") foreach qw(long-1 long-2);
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.workers WHERE role = 'stuck' AND state = 'busy')), 'and its process');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

done_testing();
