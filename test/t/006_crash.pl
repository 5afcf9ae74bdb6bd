# After kill -9 of the runner, or an immediate stop of the server, every
# committed run still completes: one that was in flight is sent again, and the
# attempt is counted. A cancel that the runner could not read any more is
# followed. A run that was interrupted too often ends in ERROR and says so.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

sub start
{
	my ($round) = @_;
	$node->safe_psql(
		'postgres', "
		SELECT agno_arun('flies $round', model => 'mock:slow-1000',
			run_id => 'flies$round');
		SELECT agno_arun('later $round', model => 'mock:echo',
			run_id => 'later$round', run_at => now() + interval '2 s');
		SELECT count(*) FROM generate_series(1, 50) i,
			agno_arun('many', model => 'mock:slow-' || i * 20,
				run_id => 'many' || i || '_$round')");
	wait_for_request("flies $round");
}

sub check
{
	my ($round, $what) = @_;
	is(wait_run("flies$round"), 'COMPLETED',
		"$what: the run in flight completes");
	is(value("attempt FROM agno_get_run_output('flies$round')"),
		2,
		"$what: its attempt is counted");
	is(wait_run("later$round"), 'COMPLETED',
		"$what: a scheduled run completes");
	ok( $node->poll_query_until(
			'postgres', "SELECT count(*) = 50 FROM agno.runs
			WHERE status = 'COMPLETED' AND run_id LIKE 'many%\\_$round'"),
		"$what: all others complete");
}

# kill -9 of the runner makes the postmaster start over.
start(1);
crash_by_killing(runner_pid());
check(1, 'kill -9');

start(2);
$node->stop('immediate');
$node->start;
check(2, 'immediate stop');

# Two attempts are all that this one gets.
$node->safe_psql('postgres',
	"SELECT agno_arun('unlucky', model => 'mock:hang', run_id => 'unlucky', "
	  . "max_attempts => 2)");
foreach my $attempt (1, 2)
{
	wait_until("attempt $attempt",
		sub { $attempt == mock_requests('mock', 'unlucky') });
	$node->stop('immediate');
	$node->start;
}
is(wait_run('unlucky'), 'ERROR', 'a run is not tried for ever');
expect_run(
	'unlucky',
	{
		"error->>'type'" => 'interrupted',
		"error->>'attempt'" => 2,
		attempt => 2,
		"content = error->>'message'" => 'true',
		content => qr/interrupted.*2 attempts/
	},
	'the error of a run that was interrupted too often says so');
is(scalar(mock_requests('mock', 'unlucky')), 2,
	'a run with two attempts is sent twice');

# The runner is stopped from reading the letter by a crash.
$node->safe_psql('postgres',
	"SELECT agno_arun('cancelled', model => 'mock:hang', run_id => 'cancelled')"
);
wait_for_request('cancelled');
my $pid = runner_pid();
kill 'STOP', $pid;
is(value("agno_cancel_run('cancelled')"),
	't', 'a run is cancelled while the runner is stopped');
$node->stop('immediate', fail_ok => 1);
kill 'KILL', $pid;
wait_until('the end of the runner', sub { !kill 0, $pid });
$node->start;
is(wait_run('cancelled'), 'CANCELLED',
	'a cancel that the runner has not read is followed after the crash');
is(scalar(mock_requests('mock', 'cancelled')),
	1, 'a run that was cancelled before the crash is not sent again');

$node->stop;
done_testing();
