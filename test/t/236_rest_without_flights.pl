# A role whose runs only wait, and are not in flight, shares the runner all the same: when
# its signals take long, others have as much of the runner's time.
# Fault injected: a trigger takes its time for each run that leaves the queue.
# Waits: for a trigger that takes its time.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (20, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
as('app', "SELECT count(agno_arun('x', model => 'mock:echo', run_id => k || i, run_at => now() + '1 day')) FROM generate_series(1, $runs) i, unnest('{bad,good}'::text[]) k");
my $busy = keep_busy('boss', 'busy');

# How many runs the other role has had while all of these are followed.
sub cancel_all
{
	my ($kind, $done) = @_;
	my $before = value(q(count(*) FROM agno.runs WHERE input = 'busy'));

	as('app', "SELECT count(agno_cancel_run('$kind' || i)) FROM generate_series(1, $runs) i");
	ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM $done)"), 'what a role has cancelled is followed');
	return value(q(count(*) FROM agno.runs WHERE input = 'busy')) - $before;
}

# Those that cannot be followed take as long.
slow_leaving('app', 0.3, q(RAISE 'not this one'));
cmp_ok(cancel_all('bad', 'agno.run_signals'), '>', 5 * $runs, 'another, which has one run at a time, has had more than a turn between two signals that fail');
slow_leaving('app', 0.3);
cmp_ok(cancel_all('good', "agno.run_queue WHERE run_id LIKE 'good%'"), '>', 5 * $runs, 'nor between two others');
$busy->kill_kill;
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
