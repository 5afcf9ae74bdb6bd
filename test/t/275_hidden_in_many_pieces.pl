# An old snapshot keeps very many dead rows of parked runs, of two roles. One of them has
# runs everywhere between them, for a server that has room for one at a time, and the other
# has one call after the other: they take turns, though what one has is found sooner.
# (The rows are put there by hand: that is quicker.)

use strict;
use warnings;
use FindBin;
use IPC::Run;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_node('main', conf => "synchronous_commit = off\nshared_buffers = 256MB");
my $mock = start_mock('mock');
add_mock_server($mock, name => 'narrow', options => ", max_concurrency '1'");
make_user('greedy2', 'greedy1');
my $key = value(q('narrow/' || umid FROM pg_user_mappings WHERE srvname = 'narrow'));

sub done
{
	my ($owner) = @_;

	return value("count(*) FROM agno.runs WHERE owner = '$owner'::regrole AND status = 'COMPLETED'");
}

my $horizon = $node->background_psql('postgres');
$horizon->query_safe('BEGIN; SELECT pg_current_xact_id()');
foreach (1 .. 20)
{
	as('greedy2', "SELECT count(agno_arun('x', model => 'narrow:slow-300')) FROM generate_series(1, 20) i");
	sleep 0.2;
	put_dead_rows(50000, 'run_queue', 'accepted_at, session_id, state, priority, parked_for', "clock_timestamp(), 's-' || i, 'p', 0, '$key'");
}
my $call = "CALL agno_run('x', model => 'narrow:slow-300')";
my $client = IPC::Run::start([ 'psql', '-XAtq', '-U', 'greedy1', '-d', $node->connstr('postgres'), ('-c', $call) x 1000 ], '<', \undef, '>', \my $result, '2>', \my $complaint);
wait_until('the client to have had an answer', sub { done('greedy1') > 0 });
my @before = map { done($_) } 'greedy1', 'greedy2';
sleep 12;
my @after = map { done($_) } 'greedy1', 'greedy2';
my @done = map { $after[$_] - $before[$_] } 0, 1;
note("one call after the other, runs everywhere: @done");
cmp_ok(2 * $done[0], '>', $done[1], 'they take turns');
$client->kill_kill;
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'greedy1'; SELECT agno_cancel_run(run_id) FROM agno.runs WHERE finished_at IS NULL");
$horizon->quit;
wait_until('all to be cancelled', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
