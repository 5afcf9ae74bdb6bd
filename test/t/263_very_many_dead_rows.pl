# An old snapshot keeps very many dead rows of the queue, of two roles: it would take longer
# than a turn of the runner may take to look past them. There are looks of their own for
# these roles, now and then, and others do not wait. (The rows are put there by hand: that
# is quicker.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'synchronous_commit = off');
add_mock_server(start_mock('mock'));
make_user('greedy1', 'greedy2', 'other');
as('other', q(CALL agno_run('x', model => 'mock:echo')));
my $idle = calls_take('other', 30);
my $horizon = $node->background_psql('postgres');
$horizon->query_safe('BEGIN; SELECT pg_current_xact_id()');

put_dead_rows(400000, 'run_queue', 'accepted_at, session_id, state, priority', q(clock_timestamp(), 's-' || i, 'r', 0));
calls_take('other', 10);
my $busy = calls_take('other', 30);
note("idle $idle s, busy $busy s");
cmp_ok($busy, '<', 3 * $idle + 0.5, 'others do not wait for what is dead');
like(as('greedy1', q(CALL agno_run('x', model => 'mock:echo'))), qr/COMPLETED/, 'and runs of such a role are executed');
$horizon->quit;

$node->stop;
done_testing();
