# An old snapshot keeps very many dead rows of parked runs, of two roles. Others do not wait
# for who looks past them, nor do those whose runs are parked for the same server; and what
# these roles have is found all the same, while the table grows and new runs of theirs come.
# (The rows are put there by hand: that is quicker.)

use strict;
use warnings;
use FindBin;
use IPC::Run;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use List::Util qw(max min);
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_node('main', conf => 'synchronous_commit = off');
my $mock = start_mock('mock');
add_mock_server($mock);
add_mock_server($mock, name => 'narrow', options => ", max_concurrency '1'");
make_user('greedy1', 'greedy2', 'other', 'third');
as('other', q(CALL agno_run('x', model => 'mock:echo')));
my $key = value(q('narrow/' || umid FROM pg_user_mappings WHERE srvname = 'narrow'));

# Runs of both and of a third one for the server that has room for one: how long a call takes
# another one meanwhile, and how many of both end before the last one of the third. What is
# left is cancelled.
sub crowd
{
	my ($what) = @_;
	my %runs = (greedy1 => 150, greedy2 => 150, third => 150);

	as($_, "SELECT count(agno_arun('x', run_id => '$what$_' || i, model => 'narrow:stamp-20')) FROM generate_series(1, $runs{$_}) i")
	  foreach sort keys %runs;
	my $longest = longest_call('other', sub { value("count(*) = 150 FROM agno.runs WHERE run_id ~ '^${what}third' AND status = 'COMPLETED'") eq 't' });
	my @before = map { value("count(*) FROM agno.runs WHERE run_id ~ '^$what$_' AND finished_at < (SELECT max(finished_at) FROM agno.runs WHERE run_id ~ '^${what}third')") } 'greedy1', 'greedy2';
	$node->safe_psql('postgres', q(SELECT agno_cancel_run(run_id) FROM agno.runs WHERE finished_at IS NULL));
	wait_until('the others to be cancelled', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
	note("$what: $longest s, @before runs before those of the third");
	return ($longest, @before);
}

# How long a few runs of one of them for that server take, while another role is busy, or
# something else is done again and again; for ten seconds at most.
sub few_take
{
	my ($name, $meanwhile) = @_;
	my $start = time;
	my $run_id = $name =~ s/ /-/gr;

	as('greedy1', "SELECT agno_arun('x', run_id => '$run_id-' || i, model => 'narrow:stamp-20') FROM generate_series(1, 4) i");
	do { $meanwhile->() }
	  until value("count(*) = 4 FROM agno.runs WHERE run_id ~ '^$run_id' AND status = 'COMPLETED'") eq 't' || time - $start > 10;
	my $took = time - $start;

	note("$name: $took s");
	return $took;
}

my ($idle) = crowd('alone');
my $horizon = $node->background_psql('postgres');
$horizon->query_safe('BEGIN; SELECT pg_current_xact_id()');
put_dead_rows(1000000, 'run_queue', 'accepted_at, session_id, state, priority, parked_for', "clock_timestamp(), 's-' || i, 'p', 0, '$key'");
my ($busy, @before) = crowd('beside');
cmp_ok($busy, '<', 3 * $idle + 1, 'others do not wait for dead rows of parked runs');
cmp_ok($before[0] + $before[1], '<', 250, 'nor do those whose runs are parked for the same server, for all of these');
cmp_ok(min(@before), '>', 3, 'who take turns with them, and with each other');

my @took = map { sleep 1; few_take("growing $_", sub { as('other', q(CALL agno_run('x', model => 'mock:echo'))) }) } 1 .. 4;
cmp_ok(max(@took), '<', 5, 'what they have is found while the table grows');
# Its new runs do not pass by those that are parked: clients take turns.
$node->safe_psql('postgres', "ALTER SERVER narrow OPTIONS (SET max_concurrency '2')");
my @clients = map {
	my $call = "CALL agno_run('x', run_id => 'client$_-' || gen_random_uuid(), model => 'narrow:slow-50')";
	IPC::Run::start([ 'psql', '-XAtq', '-U', 'greedy1', '-d', $node->connstr('postgres'), ('-c', $call) x 1000 ], '<', \undef, '>', \my $result, '2>', \my $complaint)
} 1 .. 4;
sleep 6;
my @done = map { value("count(*) FROM agno.runs WHERE run_id ~ '^client$_-' AND status = 'COMPLETED'") } 1 .. 4;
note("each client: @done");
cmp_ok(3 * min(@done), '>', max(@done), 'its new runs do not pass by those that are parked');
$_->kill_kill foreach @clients;
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'greedy1'; SELECT agno_cancel_run(run_id) FROM agno.runs WHERE finished_at IS NULL");
$horizon->quit;
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
