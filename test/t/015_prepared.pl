# Two-phase commit: a run that a prepared transaction has enqueued starts when
# that is committed, though nobody wakes the runner; a cancel likewise.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server($node, start_mock('mock'));

$node->safe_psql(
	'postgres', "
	BEGIN;
	SELECT agno_arun('x', model => 'mock:echo', run_id => 'x');
	PREPARE TRANSACTION 'a';
	BEGIN;
	SELECT agno_arun('y', model => 'mock:echo', run_id => 'y');
	PREPARE TRANSACTION 'b';");
is( $node->safe_psql('postgres', 'SELECT count(*) FROM agno.runs'),
	0, 'nothing is visible before COMMIT PREPARED');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'b'; COMMIT PREPARED 'a'");
is(wait_run($node, 'x'), 'COMPLETED', 'the run is found');
is(scalar(mock_requests('mock')), 1, 'the one that was rolled back is not');

# Across a restart
$node->safe_psql(
	'postgres', "BEGIN;
	SELECT agno_arun('z', model => 'mock:echo', run_id => 'z');
	PREPARE TRANSACTION 'c'");
$node->restart;
runner_pid($node);
$node->safe_psql('postgres', "COMMIT PREPARED 'c'");
is(wait_run($node, 'z'), 'COMPLETED', 'also after a restart');

# A cancel
$node->safe_psql('postgres',
	"SELECT agno_arun('hang', model => 'mock:hang', run_id => 'hang')");
wait_until('the request', sub { mock_requests('mock', 'hang') });
$node->safe_psql('postgres',
	"BEGIN; SELECT agno_cancel_run('hang'); PREPARE TRANSACTION 'd'");
is(run_status($node, 'hang'), 'RUNNING', 'a prepared cancel');
$node->safe_psql('postgres', "COMMIT PREPARED 'd'");
is(wait_run($node, 'hang'), 'CANCELLED', 'takes effect when it is committed');

$node->stop;
done_testing();
