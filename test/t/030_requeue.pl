# agno_requeue_run: a run that ended in ERROR is executed again, as often as it
# could be at first; no other is. And agno_bg.max_queue_depth.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'), options => ", retries '0'");

$node->safe_psql('postgres', q(
	SELECT agno_arun('Hello', session_id => 's', run_id => 'flaky',
		model => 'mock:flaky-1-500')));
is(wait_run('flaky'), 'ERROR', 'a run that fails ends in ERROR');
is(value("agno_requeue_run('flaky')"), '(flaky,s,PENDING)',
	'a run that has failed is put back');
is(wait_run('flaky'), 'COMPLETED', 'a run that was put back completes');
is(value("attempt || ' ' || content || ' ' || (error IS NULL) FROM agno.runs
		WHERE run_id = 'flaky'"),
	'2 You said: Hello true',
	'a run that was put back completes in its second attempt');

# Attempts that were used up by crashes are given anew.
$node->safe_psql('postgres', q(
	SELECT agno_arun('crash', run_id => 'crash', model => 'mock:hang',
		max_attempts => 1)));
wait_until('the run to start', sub { run_status('crash') eq 'RUNNING' });
$node->stop('immediate');
$node->start;
is(wait_run('crash'), 'ERROR',
	'a run with one attempt ends in ERROR after a crash');
$node->safe_psql('postgres', "SELECT agno_requeue_run('crash')");
wait_until('it to start again',
	sub { run_status('crash') eq 'RUNNING' });
is(value("attempt FROM agno.runs WHERE run_id = 'crash'"),
	2, 'a run that is put back gets another attempt');
foreach my $attempt (3, 4)
{
	$node->stop('immediate');
	$node->start;
	is(wait_run('crash'), 'ERROR', "it ends with the crash in an attempt: that was its only one");
	$node->safe_psql('postgres', "SELECT agno_requeue_run('crash')");
	wait_until('it to start again', sub { run_status('crash') eq 'RUNNING' });
	is(value("attempt FROM agno.runs WHERE run_id = 'crash'"), $attempt, 'and starts once more when it is put back again');
}
is(outcome("SELECT agno_requeue_run('crash')"), '55000', 'a run in flight is not requeued');
$node->safe_psql('postgres', "SELECT agno_cancel_run('crash')");
wait_run('crash');
is(outcome("SELECT agno_requeue_run('crash')"), '55000',
	'a run that was cancelled is not requeued');
is(outcome("SELECT agno_requeue_run('flaky')"), '55000',
	'a run that is COMPLETED is not requeued');
is(outcome("SELECT agno_requeue_run('unknown')"), '42704',
	'a run that is unknown is not requeued');
is(outcome("SELECT agno_continue_run('flaky', '[]')"), '55000',
	'a run that is not PAUSED is not continued');
is(outcome("SELECT agno_continue_run('unknown', '[]')"), '42704',
	'a run that is unknown is not continued');
make_user('stranger');
is(outcome_as('stranger', "SELECT agno_requeue_run('flaky')"), '42704', 'a run of somebody else is unknown');

# max_queue_depth
configure(max_queue_depth => '3');
$node->safe_psql('postgres', q(
	SELECT agno_arun('x', model => 'mock:echo', run_at => '2100-01-01')
	FROM generate_series(1, 3)));
is(outcome("SELECT agno_arun('x', model => 'mock:echo')"), '53400',
	'a run is refused when the queue is full');
$node->safe_psql('postgres', q(
	SELECT agno_cancel_run(run_id) FROM agno.runs WHERE status = 'PENDING' LIMIT 1));
ok( $node->poll_query_until(
		'postgres', 'SELECT count(*) = 2 FROM agno.run_queue'),
	'a run that is cancelled leaves the queue');
is(value("status FROM agno_arun('x', model => 'mock:echo')"),
	'PENDING', 'a run is accepted when there is room again');

# What is put back takes room as well: nobody fills the queue of all with that.
configure(max_queue_depth => '4');
$node->safe_psql('postgres', q(SELECT agno_arun('x', session_id => 'later', run_id => 'failed' || i, model => 'mock:status-400') FROM generate_series(1, 2) i));
is(wait_run('failed2'), 'ERROR', 'runs fail while there is room');
$node->safe_psql('postgres', q(SELECT agno_arun('x', session_id => 'later', model => 'mock:echo', run_at => '2100-01-01')));
is(outcome(q(SELECT agno_requeue_run(run_id) FROM agno.runs WHERE run_id IN ('failed1', 'failed2'))), '53400', 'no more of them are put back than there is room for');
is(value("agno_requeue_run('failed1')"), '(failed1,later,PENDING)', 'one is');
configure(max_queue_depth => '0', max_queue_depth_per_role => '4');
is(outcome(q(SELECT agno_requeue_run('failed2'))), '53400', 'nor than there is for the role');
configure(max_queue_depth_per_role => '5');
is(value("agno_requeue_run('failed2')"), '(failed2,later,PENDING)', 'if there is, it is put back');

done_testing();
