# A run that was locked when it was its turn, by a cancel that is rolled back, starts before those of
# its role that were accepted later, though these take each slot that becomes free.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.max_runs_per_role = 2');
add_mock_server(start_mock('mock'));
make_user('app');
as('app', q(SELECT agno_arun('x', run_id => 'locked', model => 'mock:echo', run_at => clock_timestamp() + interval '1 s')));
my $holder = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]);
$holder->query_safe(q(BEGIN; SELECT agno_cancel_run('locked')));
wait_until('it to be its turn', sub { value(q(state FROM agno.run_queue WHERE run_id = 'locked')) eq 'k' });
as('app', q(SELECT count(agno_arun('x', run_id => 'later-' || i, model => 'mock:slow-500')) FROM generate_series(1, 100) i));
wait_until('others to have all slots', sub { value(q(count(*) FROM agno.runs WHERE status = 'RUNNING')) == 2 });
$holder->query_safe('ROLLBACK');
is(wait_run('locked'), 'COMPLETED', 'it completes');
my $before = value(q(count(*) FROM agno.runs WHERE run_id ~ 'later' AND status = 'COMPLETED'));
note("$before of 100 that were accepted later were before it");
cmp_ok($before, '<', 60, 'before most of those that were accepted later');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$holder->quit;
$node->stop('immediate');
done_testing();
