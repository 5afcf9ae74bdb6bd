# A model server has room for one run, and the one that has it is over: it has been cancelled
# in a transaction that is left open, or has its answer while somebody holds its row locked.
# The server has nothing to do with that: its place is for others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $mock = start_mock('mock');
add_mock_server($mock, name => 'narrow', options => ", max_concurrency '1'");
make_user('holder', 'other');

my $session = $node->background_psql('postgres', extra_params => [ '-U', 'holder' ]);
my $dba = $node->background_psql('postgres');

# The other one has an answer while this run has its own, and cannot be stored.
sub other_goes_on
{
	my ($run_id, $lock) = @_;

	enqueue($run_id, 'narrow:slow-1000', role => 'holder');
	wait_for_request($run_id);
	$lock->();
	wait_for_answer($run_id);
	like(outcome_as('other', q(SET statement_timeout = '10s'; CALL agno_run('x', model => 'narrow:echo'))), qr{\|COMPLETED\|}, "$run_id: the place is free");
	like(run_status($run_id), qr/^(RUNNING|CANCELLED)$/, "$run_id: the run is not stored yet");
	return;
}

other_goes_on('cancelled', sub { $session->query_safe('BEGIN'); $session->query_safe(q(SELECT agno_cancel_run('cancelled'))) });
$session->query_safe('COMMIT');
expect_run('cancelled', { status => 'CANCELLED' }, 'cancelled: it ends as such');
other_goes_on('answered', sub { $dba->query_safe(q(BEGIN; SELECT 1 FROM agno.runs WHERE run_id = 'answered' FOR UPDATE)) });
$dba->query_safe('COMMIT');
expect_run('answered', { status => 'COMPLETED', content => 'You said: answered' }, 'answered: it ends as such');

$session->quit;
$dba->quit;
$node->stop;
done_testing();
