# The locks of a role stop nobody else, for as long as its transactions like: the
# runner waits for no lock, spins for none, and gives no slot away for one. Fault
# injected: rows of runs are locked by transactions, open and prepared, that have
# cancelled them, while the runner is replaced, while thousands of these runs come
# due, while they end, and while letters about them are read.
# Waits: for pauses that grow.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user(qw(a b));

# A transaction of b that has cancelled these runs, and is open.
sub cancel_and_hold
{
	my ($pattern) = @_;
	my $session =
	  $node->background_psql('postgres', extra_params => [ '-U', 'b' ]);
	$session->query_safe("BEGIN; SELECT count(agno_cancel_run(run_id))
		FROM agno.runs WHERE run_id ~ '$pattern'");
	return $session;
}

# How long CALL agno_run of the role a takes: the median of five.
sub others_wait
{
	my @times;

	foreach (1 .. 5)
	{
		my $start = time;
		my $out = as('a', "CALL agno_run('x', model => 'mock:echo')");
		die $out unless $out =~ /COMPLETED/;
		push @times, time - $start;
	}
	return (sort { $a <=> $b } @times)[2];
}

# What part of a processor the runner takes in the next four seconds, while
# others have something to do.
my $waited;

sub busy_beside_others
{
	return busy(runner_pid(), 4, sub { $waited = others_wait() });
}

#-------------------------------------------------------------------------
# Rows that are locked when a runner takes over
#-------------------------------------------------------------------------

as('b', "SELECT count(*) FROM generate_series(1, 4) i,
	agno_arun('over ' || i, model => 'mock:gate', run_id => 'over' || i)");
$node->poll_query_until('postgres', "SELECT count(*) = 4 FROM agno.runs
	WHERE run_id ~ '^over' AND status = 'RUNNING'")
  or die 'the runs do not start';
my $session = cancel_and_hold('^over1');
as('b', "BEGIN; SELECT agno_cancel_run('over$_'); PREPARE TRANSACTION 'p$_'")
  foreach (2, 3);

ok(replace_runner(),
	'another runner takes over, while runs are locked that executed');
cmp_ok(others_wait(), '<', 1, 'runs of another role go on at once');
wait_until('the other run of the same role',
	sub { mock_count('mock', 'over 4') == 2 });
pass('and so does a run of the same role that is not locked');
is(value("string_agg(DISTINCT status::text, ' ') FROM agno.runs
		WHERE run_id ~ '^over[123]'"),
	'RUNNING', 'those that are locked stay as they are');

open_gate();
$session->query_safe('ROLLBACK');
$session->quit;
$node->safe_psql('postgres', "ROLLBACK PREPARED 'p2'");
$node->safe_psql('postgres', "COMMIT PREPARED 'p3'");
is(wait_run('over1'), 'COMPLETED',
	'a run completes when the transaction that has locked it is rolled back');
is(wait_run('over2'), 'COMPLETED',
	'and when a prepared transaction is');
is(wait_run('over3'), 'CANCELLED',
	'and is CANCELLED when that is committed');
is(wait_run('over4'), 'COMPLETED', 'what was not locked completes');
close_gate();

#-------------------------------------------------------------------------
# Runs that end while they are locked
#-------------------------------------------------------------------------

$node->safe_psql('postgres', 'ALTER SYSTEM SET agno_bg.max_concurrent_runs = 5');
$node->restart;
as('b', "SELECT count(*) FROM generate_series(1, 5) i,
	agno_arun('end ' || i, model => 'mock:gate', run_id => 'end' || i)");
$node->poll_query_until('postgres', "SELECT count(*) = 5 FROM agno.runs
	WHERE run_id ~ '^end' AND status = 'RUNNING'")
  or die 'the runs do not start';
wait_for_request("end $_") foreach (1 .. 5);
$session = cancel_and_hold('^end');
open_gate();
wait_for_answer("end $_") foreach (1 .. 5);
my $start = time;
like(as('a', "CALL agno_run('x', model => 'mock:echo')"), qr/COMPLETED/,
	'a run of another role completes when all slots are taken by runs that '
	. 'have ended and are locked');
cmp_ok(time - $start, '<', 1, 'at once');
is(value("count(*) FROM agno.runs WHERE run_id ~ '^end'
		AND status = 'RUNNING'"), 5, 'the locked ones cannot be stored');
$session->query_safe('ROLLBACK');
$session->quit;
is(wait_run("end$_"), 'COMPLETED', 'an answer is stored later')
  foreach (1 .. 5);
is(mock_count('mock', "end $_"), 1, 'and was not asked for again')
  foreach (1 .. 5);
$node->safe_psql('postgres', 'ALTER SYSTEM RESET agno_bg.max_concurrent_runs');
$node->restart;

#-------------------------------------------------------------------------
# Thousands that come due while they are locked
#-------------------------------------------------------------------------

as('b', "SELECT count(*) FROM generate_series(1, 3000) i,
	agno_arun('due', model => 'mock:echo', run_id => 'due' || i,
		run_at => now() + interval '3 s')");
$session = cancel_and_hold('^due');
is(value("count(*) FROM agno.runs WHERE input = 'due' AND attempt = 0"),
	3000, 'thousands of runs are locked before they are due');
$node->poll_query_until('postgres',
	"SELECT count(*) = 3000 FROM agno.run_queue WHERE state = 'k'")
  or die 'the runs are not found locked';
my $busy = busy_beside_others();
cmp_ok($busy, '<', 0.4,
	'the runner does not spin when they are due and cannot be had');
cmp_ok($waited, '<', 0.3, 'and runs of another role do not wait');
note("busy: $busy, others wait $waited s");
$session->query_safe('ROLLBACK');
$session->quit;
$start = time;
my $left;
do
{
	usleep(200_000);
	$left = value("count(*) FROM agno.run_queue");
} while ($left > 0 && time - $start < 60);
is($left, 0, 'when they are not locked any more, all are started');
note(sprintf('after %.1f s', time - $start));
is(value("count(*) FROM agno.runs WHERE input = 'due'
		AND status = 'COMPLETED'"),
	3000, 'and complete');

#-------------------------------------------------------------------------
# Letters about runs that are locked
#-------------------------------------------------------------------------

as('b', "SELECT count(*) FROM generate_series(1, 2000) i,
	agno_arun('letter', model => 'mock:echo', run_id => 'letter' || i,
		run_at => now() + interval '1 h')");

# The runner reads the letters after the rows have been locked.
my $pid = runner_pid();
kill 'STOP', $pid;
as('b', "SELECT count(agno_cancel_run(run_id)) FROM agno.runs
	WHERE run_id ~ '^letter'");
$session = $node->background_psql('postgres');
$session->query_safe("BEGIN; SELECT count(*) FROM
	(SELECT FROM agno.runs WHERE run_id ~ '^letter' FOR UPDATE) l");
kill 'CONT', $pid;
$busy = busy_beside_others();
cmp_ok($busy, '<', 0.4,
	'the runner does not spin when thousands of letters are about locked runs');
cmp_ok($waited, '<', 0.3, 'and runs of another role do not wait then');
note("busy: $busy, others wait $waited s");
$session->query_safe('ROLLBACK');
$session->quit;
$start = time;
do
{
	usleep(200_000);
	$left = value('(SELECT count(*) FROM agno.run_queue)
		+ (SELECT count(*) FROM agno.run_signals)');
} while ($left > 0 && time - $start < 60);
is($left, 0, 'when they are not locked any more, nothing is left to do');
note(sprintf('after %.1f s', time - $start));
is(value("count(*) FROM agno.runs WHERE input = 'letter'
		AND status = 'CANCELLED'"),
	2000, 'and all are CANCELLED');

#-------------------------------------------------------------------------
# Locked runs of a role that has its share, beside one of another
#-------------------------------------------------------------------------

$node->safe_psql('postgres', 'ALTER SYSTEM SET agno_bg.max_concurrent_runs = 20');
$node->restart;
as('b', "SELECT count(*) FROM generate_series(1, 300) i,
	agno_arun('crowd', model => 'mock:hang', run_id => 'crowd' || i,
		timeout => '1 h', run_at => now() + interval '2 s')");
as('a', "SELECT agno_arun('single', model => 'mock:echo', run_id => 'single',
	run_at => now() + interval '2 s')");
$session = $node->background_psql('postgres');
$session->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM agno.runs
	WHERE run_id ~ '^(crowd|single)' FOR UPDATE) l");
$node->poll_query_until('postgres',
	"SELECT count(*) = 301 FROM agno.run_queue WHERE state = 'k'")
  or die 'the runs are not found locked';
as('b', "SELECT count(*) FROM generate_series(1, 18) i,
	agno_arun('fills ' || i, model => 'mock:hang', timeout => '1 h')");
$node->poll_query_until('postgres', "SELECT count(*) = 18 FROM agno.runs
	WHERE input LIKE 'fills %' AND status = 'RUNNING'")
  or die 'the slots are not taken';
as('b', "SELECT count(*) FROM agno.runs r, agno_cancel_run(run_id)
	WHERE input IN ('fills 1', 'fills 2', 'fills 3')");
$session->query_safe('ROLLBACK');
$session->quit;
$start = time;
is(wait_run('single'), 'COMPLETED',
	'a run is not hidden by hundreds whose owner has his share in flight');
cmp_ok(time - $start, '<', 40, 'in less than the longest pauses');
note(sprintf('after %.1f s', time - $start));
cmp_ok(value("count(*) FROM agno.runs WHERE status = 'RUNNING'"),
	'<=', 18, 'nor does he get more than his share');

$node->stop;
done_testing();
