# A runner that takes over a long queue starts runs meanwhile: it does not take those for
# what its predecessor has left, so each is sent once, and counts one attempt.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my ($runs, $node) = (5000, new_node('main', conf => "agno_bg.paused = on\n"));
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', "SELECT count(agno_arun('x', model => 'mock:slow-1000', max_attempts => 1, run_id => md5(i::text))) FROM generate_series(1, $runs) i");
$node->adjust_conf('postgresql.conf', 'agno_bg.paused', 'off');
$node->restart;
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status IN ('COMPLETED', 'ERROR')"), 'all runs end');
is(value(q(count(*) FROM agno.runs WHERE status <> 'COMPLETED' OR attempt <> 1)), 0, 'after one attempt');
is(mock_count('mock', 'x'), $runs, 'and one request each');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is in order');
$node->stop;
done_testing();
