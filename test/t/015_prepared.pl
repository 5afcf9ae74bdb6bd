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
add_mock_server(start_mock('mock'));

$node->safe_psql(
	'postgres', "
	BEGIN;
	SELECT agno_arun('x', model => 'mock:echo', run_id => 'x');
	PREPARE TRANSACTION 'a';
	BEGIN;
	SELECT agno_arun('y', model => 'mock:echo', run_id => 'y');
	PREPARE TRANSACTION 'b';");
is(value('count(*) FROM agno.runs'),
	0, 'nothing is visible before COMMIT PREPARED');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'b'; COMMIT PREPARED 'a'");
is(wait_run('x'), 'COMPLETED',
	'a run starts when its prepared transaction is committed');
is(scalar(mock_requests('mock')), 1,
	'a run of a prepared transaction that was rolled back is not sent');

# Across a restart
$node->safe_psql(
	'postgres', "BEGIN;
	SELECT agno_arun('z', model => 'mock:echo', run_id => 'z');
	PREPARE TRANSACTION 'c'");
$node->restart;
runner_pid();
$node->safe_psql('postgres', "COMMIT PREPARED 'c'");
is(wait_run('z'), 'COMPLETED',
	'a run that was prepared before a restart completes');

# A cancel
enqueue('hang', 'hang');
wait_for_request('hang');
$node->safe_psql('postgres',
	"BEGIN; SELECT agno_cancel_run('hang'); PREPARE TRANSACTION 'd'");
is(run_status('hang'), 'RUNNING', 'a prepared cancel leaves the run RUNNING');
$node->safe_psql('postgres', "COMMIT PREPARED 'd'");
is(wait_run('hang'), 'CANCELLED',
	'a prepared cancel takes effect when it is committed');

$node->stop;
done_testing();
