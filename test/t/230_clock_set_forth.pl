# A clock that is set forth brings scheduled runs nearer: a runner that has nothing else
# to do hears of it in a minute. The clock comes from faults/set_back_clock.c, which
# stops to set it back.
# Waits: for the minute in which a runner looks at its clock.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $flag = "$PostgreSQL::Test::Utils::tmp_check/set_back";
$ENV{CLOCK_SET_BACK} = $flag;
my $node = new_node('main', fault => 'set_back_clock');
add_mock_server(start_mock('mock'));

append_to_file($flag, '');
enqueue('later', 'echo', run_at => \"now() + interval '30 minutes'");
enqueue('before', 'echo');
expect_run('before', { status => 'COMPLETED' }, 'a run completes');
is(run_status('later'), 'PENDING', 'one that is scheduled waits');
unlink $flag;
my $start = time;
ok($node->poll_query_until('postgres', "SELECT status = 'COMPLETED' FROM agno.runs WHERE run_id = 'later'"),
	'it is executed when the clock says so');
note(time - $start);
cmp_ok(time - $start, '<', 90, 'in a minute');

$node->stop;
done_testing();
