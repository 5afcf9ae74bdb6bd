# A clock that is set back prolongs no pause: neither that before a runner is started
# anew which has died too often, nor a wait for a run. The clock comes from
# faults/set_back_clock.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $flag = "$PostgreSQL::Test::Utils::tmp_check/set_back";
$ENV{CLOCK_SET_BACK} = $flag;
my $node = new_node('main', fault => 'set_back_clock');
add_mock_server(start_mock('mock'));

# The pause is of one second, then of two, then of four.
foreach (1 .. 3)
{
	$node->poll_query_until('postgres',
		"SELECT count(pg_terminate_backend(pid)) = 1 FROM agno.workers
			WHERE kind = 'runner' AND state = 'running'")
	  or die 'there is no runner';
	$node->poll_query_until('postgres',
		"SELECT state <> 'running' FROM agno.workers WHERE kind = 'runner'")
	  or die 'the runner does not end';
}
is(value("state FROM agno.workers WHERE kind = 'runner'"),
	'wanted', 'a runner that has died too often is not there at once');
append_to_file($flag, '');
enqueue('x', 'echo');
ok( $node->poll_query_until('postgres',
		"SELECT status = 'COMPLETED' FROM agno.runs WHERE run_id = 'x'"),
	'it comes though the clock is set back');

unlink $flag;
enqueue('hang', 'hang');
my $caller = $node->background_psql('postgres');
$caller->query_until(qr/begins/, q(
	\echo begins
	SELECT 'waited', status FROM agno_wait_run('hang', '2s');
));
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity
		WHERE query ~ '^\\s*SELECT .waited' AND wait_event_type IS NOT NULL")
  or die 'nobody waits';
append_to_file($flag, '');
like($caller->query_until(qr/waited.*\n/, ''), qr/waited\|RUNNING/,
	'a wait for a run ends in time');
$caller->quit;

$node->stop;
done_testing();
