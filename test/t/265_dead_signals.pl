# An old snapshot keeps very many dead signals, and dead rows of scheduled runs, of two roles.
# Others do not wait for who looks past them, and what these roles have is found all the
# same. (The rows are put there by hand: that is quicker.)

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
make_user('greedy1', 'greedy2', 'other');
as('other', q(CALL agno_run('x', model => 'mock:echo')));
my $idle = calls_take('other', 30);
my $horizon = $node->background_psql('postgres');
$horizon->query_safe('BEGIN; SELECT pg_current_xact_id()');

put_dead_rows(800000, 'run_signals', 'kind', q('c'));
calls_take('other', 10);
my $busy = calls_take('other', 30);
note("idle $idle s, beside dead signals $busy s");
cmp_ok($busy, '<', 3 * $idle + 1, 'others do not wait for dead signals');
as('greedy1', q(SELECT agno_arun('x', model => 'mock:hang', run_id => 'hangs')));
ok($node->poll_query_until('postgres', q(SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'hangs')), 'a run of such a role is executed');
as('greedy1', q(SELECT agno_cancel_run('hangs')));
expect_run('hangs', { status => 'CANCELLED' }, 'and is cancelled');

put_dead_rows(800000, 'run_queue', 'accepted_at, session_id, state, priority, run_at', q(clock_timestamp(), 's-' || i, 's', 0, clock_timestamp() - '1 h'::interval));
calls_take('other', 10);
$busy = calls_take('other', 30);
note("beside dead rows of scheduled runs as well $busy s");
cmp_ok($busy, '<', 3 * $idle + 1, 'nor for those of scheduled runs');
as('greedy2', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'soon', run_at => clock_timestamp() + '1 s')));
expect_run('soon', { status => 'COMPLETED' }, 'a scheduled run of such a role is executed');
$horizon->quit;
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
