# Parked runs of a role are fetched when its turn has come, and cannot be started for a reason
# that has nothing to do with their model server: a transaction that cancels them is left
# open. That was its turn: others get the only place of that server.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $mock = start_mock('mock');
add_mock_server($mock, name => 'narrow', options => ", max_concurrency '1'");
make_user('idle', 'one', 'two');

as('idle', "SELECT count(agno_arun('x', run_id => 'locked-' || i, model => 'narrow:slow-300')) FROM generate_series(1, 3000) i");
wait_until('them to be parked', sub { value("count(*) >= 2990 FROM agno.run_queue WHERE run_id ~ '^locked-' AND parked_for IS NOT NULL") eq 't' });
my $session = $node->background_psql('postgres', extra_params => [ '-U', 'idle' ]);
$session->query_safe('BEGIN');
$session->query_safe("SELECT count(agno_cancel_run('locked-' || i)) FROM generate_series(1, 3000) i");
# Two others have as many runs: each gets some soon.
my $start = time;
my @done;

as($_, "SELECT count(agno_arun('x', run_id => '$_-' || i, model => 'narrow:slow-300')) FROM generate_series(1, 10) i") foreach 'one', 'two';
do { @done = map { value("count(*) FROM agno.runs WHERE run_id ~ '^$_-' AND status = 'COMPLETED'") } 'one', 'two' }
  until ($done[0] >= 3 && $done[1] >= 3) || time - $start > 15;
note(sprintf('%d and %d runs in %.1f s', @done, time - $start));
ok($done[0] >= 3 && $done[1] >= 3, 'others get the place');
$session->query_safe('ROLLBACK');
$session->quit;
$node->safe_psql('postgres', 'SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL');
wait_until('what is left to be cancelled', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
