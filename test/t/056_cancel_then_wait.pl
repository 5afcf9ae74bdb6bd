# A transaction that has cancelled a run and then waits for it would wait for
# itself: it is told so at once. A cancel that is rolled back to a savepoint does
# not count. And who waits for a PENDING run that another session cancels is woken
# by the commit of that session. Fault injected: the server has no process left
# for a runner, so that nobody else could wake anybody.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# One for PostgreSQL's logical replication launcher, one for ours, one runner.
my $node = new_node('main',
	conf => "max_worker_processes = 3\nmax_logical_replication_workers = 1\n");
my $url = start_mock('mock');
add_mock_server($url);

# What psql says, with SQLSTATEs and hints; it goes on after errors.
sub said
{
	my ($database, $sql) = @_;
	my ($ret, $out, $err) = $node->psql(
		$database, "\\set VERBOSITY verbose\n$sql", on_error_stop => 0);
	return ($out, $err);
}

#-------------------------------------------------------------------------
# In one transaction
#-------------------------------------------------------------------------

enqueue('hang', 'hang');
wait_for_request('hang');

my $start = time;
my ($out, $err) = said('postgres', q(
	BEGIN;
	SELECT agno_cancel_run('hang');
	SELECT status FROM agno_wait_run('hang');
	ROLLBACK;));
cmp_ok(time - $start, '<', 5,
	'a transaction that has cancelled a run does not wait for it');
is($out, 't', 'agno_wait_run gives it no status');
like($err, qr/ERROR:  55000:.*was cancelled by this transaction/,
	'agno_wait_run raises an error that says why');
like($err, qr/HINT:.*[Cc]ommit/, 'the error has a hint to commit');
is(run_status('hang'), 'RUNNING', 'the error undoes the cancel');

$start = time;
($out, $err) = said('postgres', q(
	BEGIN;
	SELECT agno_cancel_run('hang');
	SELECT status FROM agno_wait_run('hang', '1 min');
	ROLLBACK;));
like($err, qr/ERROR:  55000:/,
	'agno_wait_run raises the error with a timeout, too');
cmp_ok(time - $start, '<', 5, 'the timeout is not waited for');

($out, $err) = said('postgres', q(
	BEGIN;
	SAVEPOINT s;
	SELECT agno_cancel_run('hang');
	ROLLBACK TO SAVEPOINT s;
	SELECT status FROM agno_wait_run('hang', '100ms');
	COMMIT;));
is($err, '', 'after a rollback of the cancel to a savepoint there is no error');
is($out, "t\nRUNNING",
	'after a rollback of the cancel to a savepoint the run is waited for');

($out, $err) = said('postgres', q(
	BEGIN;
	SAVEPOINT s;
	SAVEPOINT t;
	SELECT agno_cancel_run('hang');
	RELEASE SAVEPOINT t;
	RELEASE SAVEPOINT s;
	SELECT status FROM agno_wait_run('hang', '100ms');
	ROLLBACK;));
like($err, qr/ERROR:  55000:/, 'a cancel whose savepoint is released counts');

($out, $err) = said('postgres', q(
	BEGIN;
	SAVEPOINT s;
	SAVEPOINT t;
	SELECT agno_cancel_run('hang');
	RELEASE SAVEPOINT t;
	ROLLBACK TO SAVEPOINT s;
	SELECT status FROM agno_wait_run('hang', '100ms');
	COMMIT;));
is($out, "t\nRUNNING",
	'a cancel does not count when a savepoint around it is rolled back');

($out, $err) = said('postgres', q(
	DO $$ BEGIN
		PERFORM agno_cancel_run('hang');
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN NULL;
	END $$;
	BEGIN;
	SELECT status FROM agno_wait_run('hang', '100ms');
	COMMIT;));
is($out . $err, 'RUNNING', 'a cancel in a block that failed does not count');

($out, $err) = said('postgres', q(
	BEGIN;
	SELECT agno_cancel_run('hang');
	COMMIT;
	SELECT status FROM agno_wait_run('hang', '30 s')));
is($out, "t\nCANCELLED", 'after the commit, the run is waited for');

($out, $err) = said('postgres', q(
	SELECT status FROM agno_arun('later', model => 'mock:echo',
		run_id => 'later', run_at => 'infinity');
	BEGIN;
	SELECT agno_cancel_run('later');
	SELECT status FROM agno_wait_run('later', '30 s');
	COMMIT;));
is($out, "PENDING\nt\nCANCELLED",
	'a run that has not started has ended for the one who has cancelled it');

#-------------------------------------------------------------------------
# Without a runner
#-------------------------------------------------------------------------

new_database('other', $url);
wait_until('the log',
	sub { logged(qr/no process left for the agno_bg runner/) });
$node->safe_psql('other', "SELECT count(*) FROM generate_series(1, 2) i,
	agno_arun('x', model => 'mock:echo', run_id => 'x' || i)");

# Someone who sits in agno_wait_run for this run.
sub start_waiter
{
	my ($run_id) = @_;
	my $waiter = $node->background_psql('other');

	$waiter->query_until(qr/waits/, "\\echo waits
		SELECT status FROM agno_wait_run('$run_id');\n");
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'other'
			AND state = 'active' AND query ~ 'agno_wait_run..$run_id'
			AND wait_event_type = 'Extension'")
	  or die 'nobody waits';
	return $waiter;
}

my $waiter = start_waiter('x1');
$start = time;
is($node->safe_psql('other', "SELECT agno_cancel_run('x1')"),
	't', 'a run is cancelled that no runner will ever start');
like($waiter->query('SELECT 1'), qr/^CANCELLED\n1/,
	'a backend that waits for that run is woken by the commit');
cmp_ok(time - $start, '<', 5, 'it is woken at once');
$waiter->quit;

$waiter = start_waiter('x2');
$node->safe_psql('other',
	"BEGIN; SELECT agno_cancel_run('x2'); ROLLBACK");
$start = time;
$node->safe_psql('other', "BEGIN; SAVEPOINT s; SELECT agno_cancel_run('x2');
	RELEASE SAVEPOINT s; COMMIT");
like($waiter->query('SELECT 1'), qr/^CANCELLED\n1/,
	'and by that of a transaction with savepoints');
cmp_ok(time - $start, '<', 5, 'at once, too');
$waiter->quit;
is(value("count(*) FROM pg_stat_activity WHERE datname = 'other'
			AND backend_type = 'agno_bg runner'"),
	0, 'without a runner');

$node->stop;
done_testing();
