# The only tool worker waits until what it has put off is due again: a run that a transaction
# cancels which is left open. Others have their tools called meanwhile, and so has its role.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_node('main', conf => 'agno_bg.max_tool_workers = 1');
my $mock = start_mock('mock');
add_mock_server($mock);
make_user('waiting', 'other');
foreach my $role ('waiting', 'other')
{
	$node->safe_psql('postgres', qq(
		CREATE SCHEMA $role AUTHORIZATION $role;
		SET ROLE $role;
		CREATE FUNCTION $role.tool(seconds float) RETURNS text LANGUAGE sql
			AS 'SELECT ''done'' FROM pg_sleep(seconds)';
		INSERT INTO agno.agents (agent_id, model, tools) VALUES ('agent of $role', 'mock:tools', '{$role.tool}')));
}

# A run of this role that calls its tool.
sub run_tool
{
	my ($run_id, $role, $seconds) = @_;

	return call_tools($run_id, "agent of $role", [ [ [ 'tool', { seconds => $seconds } ] ] ], role => $role);
}

my $session = $node->background_psql('postgres', extra_params => [ '-U', 'waiting' ]);
my %longest;

run_tool('first', 'waiting', 1);
wait_until('the first to be called', sub { value(q(count(*) FROM agno.tool_calls WHERE run_id = 'first')) == 1 });
run_tool('cancelled', 'waiting', 0);
wait_until('the next to wait for it', sub { value(q(count(*) FROM agno.tool_queue WHERE run_id = 'cancelled')) == 1 });
$session->query_safe('BEGIN');
$session->query_safe(q(SELECT agno_cancel_run('cancelled')));
wait_run('first');
# Until the pause is its longest.
sleep 7;
foreach my $number (1 .. 6)
{
	foreach my $role ('other', 'waiting')
	{
		my $start = time;

		run_tool("$role-$number", $role, 0);
		wait_run("$role-$number");
		$longest{$role} = max($longest{$role} // 0, time - $start);
	}
	sleep 0.3;
}
note(join ', ', map { sprintf '%s: %.2f s', $_, $longest{$_} } sort keys %longest);
cmp_ok($longest{$_}, '<', 2.5, "tools of $_ are called meanwhile") foreach 'other', 'waiting';
# The functions of runs that have ended are called, too, though their worker makes room for others.
as('waiting', q(CREATE FUNCTION waiting.called_back(run agno.runs) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(0.2)'));
as('waiting', q(SELECT count(agno_arun('x', run_id => 'ended-' || i, model => 'mock:echo', on_complete => 'waiting.called_back')) FROM generate_series(1, 8) i));
my $start = time;
my $number = 0;

while (value(q(count(*) FROM agno.runs WHERE run_id ~ '^ended-' AND status = 'COMPLETED')) < 8 && time - $start < 40)
{
	run_tool('meanwhile-' . ++$number, 'other', 0);
	wait_run("meanwhile-$number");
}
note(sprintf('functions were called in %.1f s', time - $start));
cmp_ok(time - $start, '<', 12, 'what is due is called meanwhile');
$session->query_safe('ROLLBACK');
expect_run('cancelled', { status => 'COMPLETED' }, 'and what was put off as soon as that is possible');

$session->quit;
$node->stop;
done_testing();
