# A run that is requeued while its on_complete is called, or has just been called, is
# executed again, behind those of its session that have come since; and these go on. The
# runner reads that the function has been called while the requeueing is not committed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION app.again(r agno.runs) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF r.status = 'ERROR' AND r.attempt < 3 THEN PERFORM agno_requeue_run(r.run_id); END IF; END $$;
	CREATE FUNCTION app.waits(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); END $$;
	CREATE TABLE app.seen (run_id text, status text);
	CREATE FUNCTION app.notes(r agno.runs) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_advisory_xact_lock_shared(1); INSERT INTO app.seen VALUES (r.run_id, r.status); END $$;
	CREATE FUNCTION app.calls(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM agno_requeue_callback(run_id); END $$;});

# By the function itself.
as('app', q(SELECT agno_arun('one', model => 'mock:status-400', run_id => 'z1', session_id => 'z', on_complete => 'app.again'),
	agno_arun('two', model => 'mock:echo', run_id => 'z2', session_id => 'z')));
expect_run('z2', { status => 'COMPLETED' }, 'the next run of the session');
expect_run('z1', { status => 'ERROR' }, 'and the one that was requeued');
is(value(q(attempt FROM agno.runs WHERE run_id = 'z1')), '3', 'as often as its function did that');

# It has its place in the queue still, which may be full.
configure(max_queue_depth_per_role => 1);
enqueue('full', 'status-400', role => 'app', on_complete => 'app.again');
ok($node->poll_query_until('postgres', q(SELECT attempt = 3 AND status = 'ERROR' FROM agno.runs WHERE run_id = 'full')), 'nor is there less room for that than it has');
configure(max_queue_depth_per_role => 0);

# By somebody whose transaction is open while the runner hears of the call.
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
enqueue('late', 'status-400', role => 'app', on_complete => 'app.waits');
ok($node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM agno.callbacks))), 'a function is called');
my $client = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]);
$client->query_safe('BEGIN');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
expect_run('late', { status => 'ERROR' }, 'the run has ended');
$client->query_safe(q(SELECT agno_requeue_run('late')));
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_signals WHERE kind = 'e'))), 'the runner has heard of the call');
$client->query_safe('COMMIT');
ok($node->poll_query_until('postgres', q(SELECT attempt = 2 AND status = 'ERROR' FROM agno.runs WHERE run_id = 'late')), 'it is executed again');

# And who cancels it in the same transaction.
$holder->query_safe('SELECT pg_advisory_lock(1)');
enqueue('both', 'status-400', role => 'app', on_complete => 'app.notes', stream => \'true');
ok($node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM agno.callbacks))), 'another one is called');
$client->query_safe('BEGIN');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
expect_run('both', { status => 'ERROR' }, 'and has ended');
$client->query_safe(q(SELECT agno_requeue_run('both'), agno_cancel_run('both')));
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_signals WHERE kind = 'e'))), 'the runner has heard of it');
$client->query_safe('COMMIT');
ok($node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM app.seen WHERE status = 'CANCELLED'))), 'its second end is called, too');
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_queue WHERE run_id = 'both'))), 'it leaves the queue');
is(value(q(string_agg(status, ' ' ORDER BY status) FROM app.seen)), 'CANCELLED ERROR', 'each end is called once');
like(value(q(string_agg(event, ' ' ORDER BY seq) FROM agno.run_events WHERE run_id = 'both')), qr/RunError.*RunCancelled/, 'and told of');

for my $i (1 .. 12)
{
	enqueue("race$i", 'status-400', role => 'app', on_complete => 'app.waits');
	expect_run("race$i", { status => 'ERROR' }, "race $i");
	$client->query_safe(qq(BEGIN; SELECT agno_requeue_run('race$i'); SELECT pg_sleep(0.0$i); COMMIT));
}
ok($node->poll_query_until('postgres', q(SELECT count(*) = 12 FROM agno.runs WHERE run_id LIKE 'race%' AND attempt = 2 AND status = 'ERROR')),
	'as are others, whenever they are requeued');
$_->quit foreach $client, $holder;

# What a function may not do.
enqueue('itself', 'echo', role => 'app', on_complete => 'app.calls');
expect_run('itself', { status => 'COMPLETED' }, 'a run whose function has itself called again');
like(value(q(error ->> 'sqlstate' FROM agno.runs WHERE run_id = 'itself')), qr/^55000$/, 'says that it may not');

is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
done_testing();
