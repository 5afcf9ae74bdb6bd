# What comes of a stream is shown in good time, though its owner is slow and others are, too.
# Fault injected: a trigger takes its time for each run that is stored.
# Waits: for streams that take their time.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my @others = map { "slow$_" } 1 .. 4;
my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('slow', 'boss', @others);
slow_runs('slow%', 'COMPLETED', 0.1);
as($_, q(SELECT count(agno_arun('x', model => 'mock:echo')) FROM generate_series(1, 4))) foreach 'slow', @others;
ok($node->poll_query_until('postgres', q(SELECT count(*) = 20 FROM agno.runs WHERE status = 'COMPLETED')), 'all are slow');
my $busy = keep_busy('boss', 'busy', '-c', 4);
as($_, q(SELECT count(agno_arun('x', model => 'mock:echo')) FROM generate_series(1, 60))) foreach @others;
enqueue('stream', 'words-100', role => 'slow', stream => 'on', input => 'word ' x 100);
expect_run('stream', { status => 'COMPLETED' }, 'a stream beside them ends');
cmp_ok(value(q(count(*) FROM agno.runs WHERE input = 'x' AND status <> 'COMPLETED')), '>', 20, 'before what others have');
my $times = value(q(count(DISTINCT created_at) FROM agno.run_events WHERE run_id = 'stream'));
note("something was shown $times times");
cmp_ok($times, '>', 5, 'and is shown meanwhile, piece by piece');
$busy->kill_kill;
$node->stop;
done_testing();
