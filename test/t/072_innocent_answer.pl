# An answer is not thrown away because another run cannot be started. Fault
# injected: a trigger of agno.runs refuses to start one run, in the turn in which
# the answer of another is to be stored; the runner is stopped meanwhile, so that
# both are there when it goes on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
add_mock_server(start_mock('mock'));
refuse_updates("NEW.status = 'RUNNING' AND NEW.input = 'refuse'",
	'this run is refused');

foreach my $others (0, 20)
{
	close_gate();
	$node->safe_psql('postgres', "SELECT agno_arun('paid $others',
		model => 'mock:gate', run_id => 'paid$others')");
	wait_for_request("paid $others");
	my $pid = runner_pid();
	kill 'STOP', $pid;
	open_gate();
	wait_for_answer("paid $others");
	$node->safe_psql('postgres', "SELECT count(*)
		FROM generate_series(0, $others) i, agno_arun(
			CASE i WHEN 0 THEN 'refuse' ELSE 'x' END, model => 'mock:echo',
			run_id => CASE i WHEN 0 THEN 'refused$others'
				ELSE 'r${others}_' || i END)");
	my $start = time;
	kill 'CONT', $pid;
	is(wait_run("paid$others"), 'COMPLETED',
		"an answer is stored, with a run that is refused and $others others");
	cmp_ok(time - $start, '<', 5,
		"the answer is stored within 5 s with $others others");
	is(wait_run("refused$others"), 'ERROR',
		"the refused run ends with $others others");
	ok( $node->poll_query_until('postgres', "SELECT count(*) = $others
			FROM agno.runs WHERE run_id ~ '^r${others}_'
			AND status = 'COMPLETED'"),
		"all $others others complete");
}

$node->stop;
done_testing();
