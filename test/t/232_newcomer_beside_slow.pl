# With all slots taken, a role that has nothing in flight has its run started, though one of
# another, whose runs take long, is started at the same time.
# Fault injected: a trigger takes its time for each run of a role.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.max_concurrent_runs = 4');
add_mock_server(start_mock('mock'));
make_user('app', 'boss', 'new');
slow_runs('app', 'COMPLETED', 0.05);
as('boss', q(SELECT count(agno_arun('x', model => 'mock:hang')) FROM generate_series(1, 10)));
ok($node->poll_query_until('postgres', q(SELECT count(*) >= 3 FROM agno.runs WHERE status = 'RUNNING')), 'a role takes the slots');
as('app', q(CALL agno_run('x', model => 'mock:echo'))) for 1 .. 3;
pass('another has runs that take long to be stored');

foreach my $round (1 .. 3)
{
	$node->safe_psql('postgres', qq{DO \$\$ BEGIN
		SET LOCAL ROLE app; PERFORM agno_arun('x', model => 'mock:hang', run_id => 'app$round');
		SET LOCAL ROLE new; PERFORM agno_arun('x', model => 'mock:echo', run_id => 'new$round'); END \$\$});
	is(wait_run("new$round"), 'COMPLETED', 'the run of a third is executed');
	ok($node->poll_query_until('postgres', "SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'app$round'"), 'beside a new one of that');
	as('app', "SELECT agno_cancel_run('app$round')");
	is(wait_run("app$round"), 'CANCELLED', 'which ends');
}
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
