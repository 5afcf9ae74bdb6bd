# A role cannot keep tool workers from others: not with tools that have been given a
# day, not with some on all workers, or on all but one that a third role keeps busy,
# and not with tools that do not end when they are told to. What is interrupted for
# others has not happened, is no attempt, and is made again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.tool_timeout = '1s'\n");
add_mock_server(start_mock('mock'));
make_user('hog', 'deaf', 'busy', 'late', 'later');
$node->safe_psql('postgres', q{
	CREATE TABLE done (run_id text);
	GRANT ALL ON done TO PUBLIC;
	CREATE FUNCTION nap(seconds float8) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO done VALUES (current_setting('agno_bg.run_id'));
		PERFORM pg_sleep(seconds); RETURN 'slept'; END $$;
	CREATE FUNCTION deaf() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$});
as('hog', q(INSERT INTO agno.tools (tool, function, timeout) VALUES ('long', 'public.nap', '1 day')));
as('deaf', q(INSERT INTO agno.tools (tool, function, timeout) VALUES ('long_deaf', 'public.deaf', '1 day')));
as('hog', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('hog', 'mock:tools', '{long}')));
as('deaf', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('deaf', 'mock:tools', '{long_deaf}')));
as($_, qq(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('$_', 'mock:tools', '{public.nap}'))) foreach qw(busy late later);

sub wait_for_workers
{
	my ($role, $count) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) >= $count FROM agno.workers WHERE role = '$role' AND state = 'busy'");
}
sub nap
{
	my ($id, $role, $seconds) = @_;
	call_tools($id, $role, [ [ [ nap => { seconds => $seconds // 0 } ] ] ], role => $role);
}
sub cancel
{
	my ($like) = @_;
	value("count(agno_cancel_run(run_id)) FROM agno.runs WHERE run_id LIKE '$like' AND status IN ('PENDING', 'RUNNING')");
	$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.workers WHERE state = 'busy'));
}

# On all workers
call_tools("hog-$_", 'hog', [ [ [ long => { seconds => 80000 } ] ] ], role => 'hog') foreach 1 .. 6;
ok(wait_for_workers('hog', 3), 'who is alone has all workers but one');
my $start = time;
nap('late', 'late');
expect_run('late', { status => 'COMPLETED', content => 'Results: slept' }, 'a role whose tools have a day does not keep the workers from others');
cmp_ok(time - $start, '<', 8, 'but for the time that any tool has');
is(value(q(count(*) FROM done WHERE run_id LIKE 'hog-%')), 0, 'of a call that was interrupted nothing is there');
is(value(q(count(*) FROM agno.runs WHERE run_id LIKE 'hog-%' AND status = 'RUNNING' AND attempt = 1)), 6, 'and it is no attempt');
nap("late-$_", 'late') foreach 1 .. 3;
wait_run("late-$_") foreach 1 .. 3;
is(value(q(count(*) FROM agno.workers WHERE role = 'hog')), 3, 'while others come now and then, one worker is left to them');

# All but the one of a role that is busy
nap("busy-$_", 'busy', 0.05) foreach 1 .. 150;
wait_for_workers('busy', 1);
$start = time;
nap('later', 'later');
is(wait_run('later'), 'COMPLETED', 'nor does it with the help of another that is busy');
cmp_ok(time - $start, '<', 8, 'for long');
cancel('%');

# Tools that do not end
call_tools("deaf-$_", 'deaf', [ [ ['long_deaf'] ] ], role => 'deaf') foreach 1 .. 4;
ok($node->poll_query_until('postgres', q(SELECT count(*) >= 3 FROM agno.workers WHERE role = 'deaf' AND state = 'busy')), 'tools that do not listen run');
my $pids = value(q(string_agg(pid::text, ',') FROM agno.workers WHERE role = 'deaf' AND state = 'busy'));
my @others = qw(busy late later);
foreach my $role (@others) { nap("two-$role-$_", $role, 0.8) foreach 1 .. 2; }
foreach my $role (@others)
{
	is(wait_run("two-$role-$_"), 'COMPLETED', "$role is not kept waiting by tools that do not end: $_") foreach 1 .. 2;
}
ok($node->poll_query_until('postgres', "SELECT count(*) < 3 FROM pg_stat_activity WHERE pid IN ($pids)"), 'whose processes are ended');
is(value(q(max(attempt) FROM agno.runs WHERE run_id LIKE 'deaf-%')), 1, 'which is no attempt either');

done_testing();
