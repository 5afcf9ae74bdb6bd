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
is(wait_run('flaky'), 'ERROR', 'a run that fails');
is(value("agno_requeue_run('flaky')"), '(flaky,s,PENDING)', 'is put back');
is(wait_run('flaky'), 'COMPLETED', 'and completes');
is(value("attempt || ' ' || content || ' ' || (error IS NULL) FROM agno.runs
		WHERE run_id = 'flaky'"),
	'2 You said: Hello true', 'in its second attempt');

# Attempts that were used up by crashes are given anew.
$node->safe_psql('postgres', q(
	SELECT agno_arun('crash', run_id => 'crash', model => 'mock:hang',
		max_attempts => 1)));
wait_until('the run to start', sub { run_status('crash') eq 'RUNNING' });
$node->stop('immediate');
$node->start;
is(wait_run('crash'), 'ERROR', 'the attempts are used up');
$node->safe_psql('postgres', "SELECT agno_requeue_run('crash')");
wait_until('it to start again',
	sub { run_status('crash') eq 'RUNNING' });
is(value("attempt FROM agno.runs WHERE run_id = 'crash'"),
	2, 'it has another one');
is(outcome("SELECT agno_requeue_run('crash')"), '55000', 'a run in flight is not requeued');
$node->safe_psql('postgres', "SELECT agno_cancel_run('crash')");
wait_run('crash');
is(outcome("SELECT agno_requeue_run('crash')"), '55000', 'nor one that was cancelled');
is(outcome("SELECT agno_requeue_run('flaky')"), '55000', 'nor one that is COMPLETED');
is(outcome("SELECT agno_requeue_run('unknown')"), '42704', 'nor one that is unknown');
is(outcome("SELECT agno_continue_run('flaky', '[]')"), '55000', 'nothing is PAUSED');
is(outcome("SELECT agno_continue_run('unknown', '[]')"), '42704', 'nor known');
make_user('stranger');
is(outcome_as('stranger', "SELECT agno_requeue_run('flaky')"), '42704', 'a run of somebody else is unknown');

# max_queue_depth
configure(max_queue_depth => '3');
$node->safe_psql('postgres', q(
	SELECT agno_arun('x', model => 'mock:echo', run_at => '2100-01-01')
	FROM generate_series(1, 3)));
is(outcome("SELECT agno_arun('x', model => 'mock:echo')"), '53400', 'the queue is full');
$node->safe_psql('postgres', q(
	SELECT agno_cancel_run(run_id) FROM agno.runs WHERE status = 'PENDING' LIMIT 1));
ok( $node->poll_query_until(
		'postgres', 'SELECT count(*) = 2 FROM agno.run_queue'),
	'one has left');
is(value("status FROM agno_arun('x', model => 'mock:echo')"),
	'PENDING', 'and another may come');

done_testing();
