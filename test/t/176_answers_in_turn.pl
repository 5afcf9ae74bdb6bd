# Answers that take long to be read, all of which are there at once, keep the runs of
# their own role waiting, and others for no more than one or two of them; nor does a
# stop of the server wait for all, or the end of a runner that has no postmaster any more.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.max_response_size = '64MB'\n");
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');

sub crowd
{
	my ($name, $count) = @_;

	close_gate();
	enqueue("$name-$_", 'numbers-6000000', input => $name, role => 'greedy') foreach 1 .. $count;
	wait_until('the requests', sub { mock_count('mock', $name) == $count });
	open_gate();
	wait_until('an answer', sub { value("count(*) FROM agno.runs WHERE run_id ~ '^$name' AND status = 'COMPLETED'") > 0 });
}

my $count = 24;
crowd('large', $count);
enqueue('beside', 'echo', role => 'other');
expect_run('beside', { status => 'COMPLETED' }, 'a run of another role completes');
my $before = value("count(*) FROM agno.runs r, agno.runs b WHERE r.run_id ~ '^large' AND b.run_id = 'beside' AND r.finished_at < b.finished_at");
note("$before of $count came before it");
cmp_ok($before, '<', $count / 3, 'before most answers of one that takes long');
is(value("count(*) FROM generate_series(1, $count) g, agno_wait_run('large-' || g) r WHERE r.status = 'COMPLETED'"), $count,
	'all of which are read in the end');
is(value("count(*) FROM agno.runs WHERE run_id ~ '^large' AND attempt > 1"), 0, 'once');

crowd('stopped', $count);
my $start = time;
$node->stop('fast');
cmp_ok(time - $start, '<', 5, 'a stop waits for one of them');

# The postmaster is not there any more, and it is the kernel that ended it.
$node->start;
crowd('orphaned', $count);
my $runner = runner_pid();
$start = time;
$node->kill9;
wait_until('the end of the runner', sub { !kill 0, $runner });
cmp_ok(time - $start, '<', 5, 'nor does a runner without a postmaster read them all');
done_testing();
