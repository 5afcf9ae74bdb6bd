# There are bounds for how many runs may wait, and very many rows of the queue are dead: who
# enqueues a run does not count them, nor the runs of others. (The rows are put there by hand:
# that is quicker.)

use strict;
use warnings;
use FindBin;
use IPC::Run;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "synchronous_commit = off\nautovacuum = off\nagno_bg.max_queue_depth = 200000\nagno_bg.max_queue_depth_per_role = 50000");
add_mock_server(start_mock('mock'));
make_user('greedy1', 'greedy2', 'other');
as('other', q(CALL agno_run('x', model => 'mock:echo')));
my $columns = 'accepted_at, session_id, state, priority, run_at';
my $scheduled = q(clock_timestamp(), 's-' || i, 's', 0, '2100-01-01');

# How long a session takes to enqueue its first run, at best.
sub enqueues_in
{
	my @took;

	foreach (1 .. 8)
	{
		my $start = time;

		as('other', q(SELECT agno_arun('x', model => 'mock:echo')));
		push @took, time - $start;
	}
	return min(@took);
}

my $few = enqueues_in();
my $horizon = $node->background_psql('postgres');
$horizon->query_safe('BEGIN; SELECT pg_current_xact_id()');
my $early = $node->background_psql('postgres', on_error_stop => 0);
$early->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM agno.run_queue');
put_dead_rows(700000, 'run_queue', $columns, $scheduled);
$node->safe_psql('postgres', "INSERT INTO agno.run_queue (run_id, owner, shard, $columns) SELECT 'live-' || i, 'greedy1'::regrole, 0, $scheduled FROM generate_series(1, 40000) i");
$node->safe_psql('postgres', 'VACUUM agno.run_queue');
my $many = enqueues_in();
note("beside few rows $few s, beside very many $many s");
cmp_ok($many, '<', 2 * $few + 0.03, 'they are not counted');

# The bounds are as they were.
is(value("count(*) FROM agno.run_queue WHERE owner = 'greedy1'::regrole"), 40000, 'a role has many runs');
configure(max_queue_depth_per_role => 40000);
is(outcome_as('greedy1', q(SELECT agno_arun('x', model => 'mock:echo'))), '53400', 'and can have no more');
isnt(outcome_as('other', q(SELECT agno_arun('x', model => 'mock:echo'))), '53400', 'but others can');
configure(max_queue_depth => 40000);
is(outcome_as('other', q(SELECT agno_arun('x', model => 'mock:echo'))), '53400', 'unless that is all that there may be');

# Many sessions at once, each of which commits again and again in one statement.
configure(max_queue_depth => 43000, max_queue_depth_per_role => 0);
my @sessions = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "DO \$\$ BEGIN FOR n IN 1 .. 20 LOOP PERFORM agno_arun('x', model => 'mock:echo', run_at => '2100-01-01') FROM generate_series(1, 100); COMMIT; END LOOP; END \$\$" ], '<', \undef, '2>', \my $complaint) } 1 .. 8;
$_->finish foreach @sessions;
my $all = value('count(*) FROM agno.run_queue');
note("there are $all runs");
cmp_ok($all, '<=', 43000 + 8 * 100, 'many sessions do not exceed the bound');
cmp_ok($all, '>=', 42900, 'nor are they refused before it');

# Who sees a queue of long ago does not count that.
$early->query("SELECT agno_arun('x', model => 'mock:echo') FROM generate_series(1, 1000)");
like($early->{stderr}, qr/too many runs that have not ended/, 'nor by who has an old snapshot');
$early->quit;

# What transactions have accepted that are open counts as well, until it is rolled back.
my $hundreds = q(SELECT count(agno_arun('x', model => 'mock:echo', run_at => '2100-01-01')) FROM generate_series(1, 900));
configure(max_queue_depth => $all + 1000);
my $open = $node->background_psql('postgres', extra_params => [ '-U', 'greedy2' ]);
$open->query_safe("BEGIN; $hundreds");
is(outcome_as('other', $hundreds), '53400', 'nor by others while a transaction is open');
configure(max_queue_depth => 0, max_queue_depth_per_role => 1000);
is(outcome_as('greedy2', $hundreds), '53400', 'nor by its own role');
is(outcome_as('other', "BEGIN; SAVEPOINT s; $hundreds; ROLLBACK TO s; $hundreds; RELEASE s; PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'"), "900\n900", 'another has room, which it gives back');
is(outcome_as('other', $hundreds), '900', 'and takes again');
$open->query_safe('ROLLBACK');
is(outcome_as('greedy2', $hundreds), '900', 'as can that role then');
$open->quit;

$horizon->quit;
$node->stop;
done_testing();
