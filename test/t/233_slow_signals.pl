# Cancels of many runs at once take long to be followed: they are followed in the end, however
# busy others are, who do not wait for all of them.
# Fault injected: a trigger takes its time for each run that leaves the queue.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (40, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
slow_leaving('app', 0.05);
enqueue('hangs', 'hang', input => 'hangs', role => 'app');
as('app', "SELECT count(agno_arun('x', model => 'mock:echo', run_id => 'later' || i, run_at => now() + '1 day')) FROM generate_series(1, $runs) i");
my $busy = keep_busy('boss', 'busy');
as('app', "SELECT count(agno_cancel_run('later' || i)) FROM generate_series(1, $runs) i");
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_signals) AND (SELECT count(*) = 1 FROM agno.run_queue WHERE owner = 'app'::regrole))), 'what another has cancelled leaves the queue');
ok($busy->pumpable, 'while the first still is');
$busy->kill_kill;
cmp_ok(value(q(extract(epoch FROM max(finished_at - created_at)) FROM agno.runs WHERE input = 'busy')), '<', 3, 'and waits for a few of them at most');
as('app', q(SELECT agno_cancel_run('hangs')));
is(wait_run('hangs'), 'CANCELLED', 'the runner goes on');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
