# An old snapshot keeps very many dead rows of parked runs, of two roles. Others do not wait
# for who looks past them, nor do those whose runs are parked for the same server; and what
# these roles have is found all the same. (The rows are put there by hand: that is quicker.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'synchronous_commit = off');
my $mock = start_mock('mock');
add_mock_server($mock);
add_mock_server($mock, name => 'narrow', options => ", max_concurrency '1'");
make_user('greedy1', 'greedy2', 'other', 'third');
as('other', q(CALL agno_run('x', model => 'mock:echo')));
my $key = value(q('narrow/' || umid FROM pg_user_mappings WHERE srvname = 'narrow'));

# Runs of both and of a third one for the server that has room for one: how long a call takes
# another one meanwhile, and how many of both end before the last one of the third.
sub crowd
{
	my ($what) = @_;
	my %runs = (greedy1 => 150, greedy2 => 150, third => 150);

	as($_, "SELECT count(agno_arun('x', run_id => '$what$_' || i, model => 'narrow:stamp-20')) FROM generate_series(1, $runs{$_}) i")
	  foreach sort keys %runs;
	my $longest = longest_call('other', sub { value("count(*) = 450 FROM agno.runs WHERE run_id ~ '^$what' AND status = 'COMPLETED'") eq 't' });
	my $before = value("count(*) FROM agno.runs WHERE run_id ~ '^${what}greedy' AND finished_at < (SELECT max(finished_at) FROM agno.runs WHERE run_id ~ '^${what}third')");
	note("$what: $longest s, $before runs before those of the third");
	return ($longest, $before);
}

my ($idle) = crowd('alone');
my $horizon = $node->background_psql('postgres');
$horizon->query_safe('BEGIN; SELECT pg_current_xact_id()');
put_dead_rows(1000000, 'run_queue', 'accepted_at, session_id, state, priority, parked_for', "clock_timestamp(), 's-' || i, 'p', 0, '$key'");
my ($busy, $before) = crowd('beside');
cmp_ok($busy, '<', 3 * $idle + 1, 'others do not wait for dead rows of parked runs');
cmp_ok($before, '<', 250, 'nor do those whose runs are parked for the same server, for all of these');
cmp_ok($before, '>', 3, 'who take turns with them');
$horizon->quit;
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
