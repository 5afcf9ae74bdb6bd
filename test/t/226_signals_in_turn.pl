# A role cancels very many of its runs at once: what others cancel meanwhile does not wait for
# all of that.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (30000, new_node('main', conf => 'agno_bg.max_queue_depth = 0'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
# The ids of the other role's runs come first.
enqueue('zz', 'hang', input => 'x', role => 'boss');
wait_for_request('x');
as('app', "SELECT count(agno_arun('x', model => 'mock:echo', run_id => 'a' || i, run_at => now() + '1 day')) FROM generate_series(1, $runs) i");
as('app', "SELECT count(agno_cancel_run('a' || i)) FROM generate_series(1, $runs) i");
as('boss', q(SELECT agno_cancel_run('zz')));
is(wait_run('zz'), 'CANCELLED', 'a run is cancelled');
cmp_ok(value('count(*) FROM agno.run_signals'), '>', $runs / 3, 'before most of the others are');
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM agno.run_signals) AND NOT EXISTS (SELECT FROM agno.run_queue)'), 'which all are in the end');
is(value(q(count(*) FROM agno.runs WHERE status <> 'CANCELLED')), 0, 'are cancelled');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
