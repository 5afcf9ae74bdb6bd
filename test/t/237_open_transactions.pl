# A role enqueues, and cancels, very many runs in transactions that are left open: what
# others enqueue and cancel does not wait for that; and its own runs go on once they have
# ended, one way or another. (Most of the rows are put there by hand: that is quicker.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'synchronous_commit = off');
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
as('other', q(CALL agno_run('x', model => 'mock:echo')));

my $idle = calls_take('other', 30);
my ($ready, $signals, $session) = map { $node->background_psql('postgres') } 1 .. 3;
$_->query_safe('BEGIN') foreach $ready, $signals;
$ready->query_safe(q(INSERT INTO agno.run_queue (accepted_at, run_id, session_id, state, priority, shard, owner)
	SELECT clock_timestamp(), 'open-' || i, 'open-' || i, 'r', 0, 0, 'greedy'::regrole FROM generate_series(1, 500000) i));
$ready->query_safe(q(INSERT INTO agno.run_queue (accepted_at, run_id, session_id, state, run_at, priority, shard, owner)
	SELECT clock_timestamp(), 'later-' || i, 'later-' || i, 's', now() + interval '1 hour', 0, 0, 'greedy'::regrole FROM generate_series(1, 300000) i));
enqueue("due-$_", 'echo', role => 'other', run_at => \"now() + interval '$_ s'") foreach 1 .. 3;
my $busy = calls_take('other', 30);
note("30 calls of another role take $busy s, and took $idle s before");
cmp_ok($busy, '<', 3 * $idle + 1, 'others do not wait for runs that are not committed');

expect_run("due-$_", { status => 'COMPLETED' }, 'and are executed when they are due') foreach 1 .. 3;

enqueue('own', 'echo', role => 'greedy');
$signals->query_safe(q(INSERT INTO agno.run_signals (run_id, owner, shard)
	SELECT 'open-' || i, 'greedy'::regrole, 0 FROM generate_series(1, 500000) i));
$busy = calls_take('other', 30);
note("then $busy s");
cmp_ok($busy, '<', 3 * $idle + 1, 'nor for their cancels');
enqueue('hangs', 'hang', role => 'other');
ok($node->poll_query_until('postgres', "SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'hangs'"), 'a run of theirs is started');
is(as('other', q(SELECT agno_cancel_run('hangs'))), 't', 'and is cancelled');
expect_run('hangs', { status => 'CANCELLED' }, 'at once');
configure(paused => 'on');
cmp_ok(busy(runner_pid(), 3), '<', 0.3, 'nor does it take time while nothing is started');
configure(paused => 'off');
$_->query_safe('ROLLBACK') foreach $ready, $signals;
expect_run('own', { status => 'COMPLETED' }, 'what the role has beside that is executed at last');

# What a role has beside some thousands is not held up until those are committed.
$ready->query_safe('BEGIN');
$ready->query_safe(q(INSERT INTO agno.run_queue (accepted_at, run_id, session_id, state, priority, shard, owner)
	SELECT clock_timestamp(), 'few-' || i, 'few-' || i, 'r', 0, 0, 'greedy'::regrole FROM generate_series(1, 30000) i));
calls_take('other', 30);
enqueue('beside', 'echo', role => 'greedy');
expect_run('beside', { status => 'COMPLETED' }, 'what is beside some thousands is executed');
$ready->query_safe('ROLLBACK');

# Those who commit them, a cancel among them
enqueue('hangs too', 'hang', role => 'greedy');
$session->query_safe('SET ROLE greedy; BEGIN');
$session->query_safe("SELECT count(*) FROM generate_series(1, 20000) i, agno_arun('x', model => 'mock:echo', run_id => 'done-' || i)");
$session->query_safe(q(SELECT agno_cancel_run('hangs too')));
$session->query_safe('COMMIT');
expect_run('hangs too', { status => 'CANCELLED' }, 'a cancel among them is followed');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 20000 FROM agno.runs WHERE run_id LIKE 'done-%' AND status = 'COMPLETED')), 'and all are executed when they are committed');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
$_->quit foreach $ready, $signals, $session;

$node->stop;
done_testing();
