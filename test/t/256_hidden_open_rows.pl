# What is before the rows of a transaction that is left open hides it from nobody: the dead
# rows of runs that have been executed, those of transactions that are rolled back, and runs
# that come behind them in their session. Others do not wait for them. (The rows are put
# there by hand: that is quicker.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => 'synchronous_commit = off');
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
as('other', q(CALL agno_run('x', model => 'mock:echo')));

# A script that enqueues and rolls back.
sub aborts
{
	my $file = "$PostgreSQL::Test::Utils::tmp_check/aborts.sql";

	append_to_file($file, q(BEGIN; SET LOCAL ROLE greedy; SELECT count(agno_arun('x', model => 'mock:echo', priority => 10)) FROM generate_series(1, 150) i; ROLLBACK;));
	return $file;
}

my $idle = calls_take('other', 30);
my ($ready, $horizon) = map { $node->background_psql('postgres') } 1 .. 2;
$horizon->query_safe('BEGIN; SELECT pg_current_xact_id()');
as('greedy', q(SELECT count(agno_arun('x', model => 'mock:echo', priority => 10, run_id => 'head-' || i)) FROM generate_series(1, 300) i));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 300 FROM agno.runs WHERE run_id LIKE 'head-%' AND status = 'COMPLETED')), 'runs are executed, and their rows cannot be removed');
$ready->query_safe('BEGIN');
$ready->query_safe(q(INSERT INTO agno.run_queue (accepted_at, run_id, session_id, state, priority, shard, owner)
	SELECT clock_timestamp(), 'one-' || i, 'one', 'r', 0, 0, 'greedy'::regrole FROM generate_series(1, 500000) i));
calls_take('other', 30);
my $busy = calls_take('other', 30);
note("behind dead rows, $busy s");
cmp_ok($busy, '<', 3 * $idle + 1, 'others do not wait for what is behind dead rows');
my $aborts = start_program('pgbench', '-n', '-d', $node->connstr('postgres'), '-T', 60, '-f', aborts());
calls_take('other', 30);
$busy = calls_take('other', 30);
note("behind rows that are rolled back, $busy s");
cmp_ok($busy, '<', 3 * $idle + 1, 'nor behind those that are rolled back');
$aborts->kill_kill;
as('greedy', q(SELECT count(agno_arun('x', model => 'mock:echo', priority => 10, session_id => 'one', run_id => 'behind-' || i)) FROM generate_series(1, 300) i));
$busy = calls_take('other', 30);
note("in a session, $busy s");
cmp_ok($busy, '<', 3 * $idle + 1, 'nor for runs behind them in their session');
$_->query_safe('ROLLBACK') foreach $ready, $horizon;
ok($node->poll_query_until('postgres', q(SELECT count(*) = 300 FROM agno.runs WHERE run_id LIKE 'behind-%' AND status = 'COMPLETED')), 'which are executed at last');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
$_->quit foreach $ready, $horizon;

$node->stop;
done_testing();
