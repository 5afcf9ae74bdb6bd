# A result that cannot be stored, because a trigger of a superuser refuses it,
# costs its own run and no other. A table that cannot be written for a while
# costs nothing but time. A row that somebody holds locked stops nobody else.
# Waits: for locks, and for pauses after failures.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
my $pid = runner_pid();

refuse_updates("NEW.content LIKE '%poison%'", 'this content is refused');
$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 100) i, agno_arun("
	  . "CASE WHEN i IN (30, 70) THEN 'poison' ELSE 'fine' END, "
	  . "model => 'mock:slow-50', run_id => 'run' || i)");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) FILTER (WHERE status = 'COMPLETED') = 98
		AND count(*) FILTER (WHERE status = 'ERROR') = 2 FROM agno.runs"),
	'all runs complete but those that the trigger refuses');
is(value("string_agg(run_id, ' ' ORDER BY run_id),
		string_agg(DISTINCT error->>'type', ' '),
		string_agg(DISTINCT content, ' ') FROM agno.runs
		WHERE status = 'ERROR'"),
	'run30 run70|storage|this content is refused',
	'the culprits end in ERROR, which says why');
is(runner_pid(), $pid, 'the runner survives results that cannot be stored');
is(value("max(finished_at) - min(finished_at) < '1 s' FROM agno.runs"),
	't',
	'no run waits long for those that cannot be stored');
$node->safe_psql('postgres', 'DROP TRIGGER refuse ON agno.runs');

# A value that the table refuses
$node->safe_psql('postgres', q(
	ALTER TABLE agno.runs ADD CONSTRAINT polite CHECK (content NOT LIKE '%rude%');
	SELECT count(*) FROM generate_series(1, 50) i, agno_arun(
		CASE i WHEN 25 THEN 'rude' ELSE 'polite' END,
		model => 'mock:slow-50', run_id => 'checked' || i)));
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) FILTER (WHERE status = 'COMPLETED') = 49
		AND count(*) FILTER (WHERE status = 'ERROR'
			AND content LIKE '%violates check constraint%') = 1
		FROM agno.runs WHERE run_id LIKE 'checked%'"),
	'a value that is refused costs its own run');
$node->safe_psql('postgres', 'ALTER TABLE agno.runs DROP CONSTRAINT polite');

# The owner is dropped, with his runs in flight and waiting.
$node->safe_psql('postgres', q(
	CREATE ROLE leaver;
	SELECT agno_grant_usage('leaver');
	SET ROLE leaver;
	SELECT agno_arun('flies', model => 'mock:slow-700', run_id => 'flies');
	SELECT agno_arun('waits', model => 'mock:echo', run_id => 'waits',
		run_at => now() + interval '700 ms')));
wait_for_request('flies');
$node->safe_psql('postgres', q(
	DROP OWNED BY leaver;
	DROP ROLE leaver;
	SELECT agno_arun('stays', model => 'mock:slow-700', run_id => 'stays')));
is(wait_run('stays'), 'COMPLETED',
	'a run completes after another role was dropped');
is(wait_run('waits'), 'ERROR',
	'a run that waits ends in ERROR when its owner is dropped');
like(value("content FROM agno.runs WHERE run_id = 'waits'"),
	qr/role with OID \d+, which owned the run, has been dropped/,
	'the error says that the owner has been dropped');
is(wait_run('flies'), 'COMPLETED',
	'a run in flight completes when its owner is dropped');
is(runner_pid(), $pid, 'the runner survives the drop of an owner');

# A run that cannot even be started
refuse_updates(
	"NEW.input = 'no start' AND NEW.status <> 'ERROR'
		OR NEW.input = 'no end either'",
	'this run is refused');
$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 100) i, agno_arun(CASE i "
	  . "WHEN 30 THEN 'no start' WHEN 60 THEN 'no end either' ELSE 'starts' END, "
	  . "model => 'mock:echo', run_id => 'start' || i)");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 98 FROM agno.runs
		WHERE input = 'starts' AND status = 'COMPLETED'"),
	'runs that cannot be started stop no others');
is(wait_run('start30'), 'ERROR', 'a run that cannot be started ends in ERROR');
is(run_status('start60'), 'PENDING',
	'a run that can neither start nor end stays PENDING');
is(runner_pid(), $pid, 'the runner survives runs that cannot be started');
$node->safe_psql('postgres', 'DROP TRIGGER refuse ON agno.runs');
is(wait_run('start60'), 'COMPLETED',
	'a run that could neither start nor end starts when it can');

# Somebody holds a row.
my $holder = $node->background_psql('postgres');
enqueue('held', 'slow-1500');
wait_for_request('held');
$holder->query_safe("BEGIN; SELECT 1 FROM agno.runs WHERE run_id = 'held' FOR UPDATE");
wait_for_answer('held');
enqueue('free', 'echo');
is(wait_run('free'), 'COMPLETED', 'a locked row stops nobody else');
$holder->query_safe('COMMIT');
is(wait_run('held'), 'COMPLETED',
	'the answer of a locked row is stored when it is free');

# Somebody holds the whole table.
enqueue('table', 'slow-1500');
wait_for_request('table');
$holder->query_safe('BEGIN; LOCK TABLE agno.runs IN ACCESS EXCLUSIVE MODE');
my $offset = -s $node->logfile;
wait_until('the log', sub {
	slurp_file($node->logfile, $offset) =~ /lock timeout/ });
$holder->query_safe('COMMIT');
$holder->quit;
is(wait_run('table'), 'COMPLETED', 'a locked table costs only time');
is(runner_pid(), $pid, 'the runner survives a locked table');

# Somebody deletes a run in flight.
enqueue('deleted', 'slow-500');
wait_for_request('deleted');
$node->safe_psql('postgres', "DELETE FROM agno.runs WHERE run_id = 'deleted'");
enqueue('x', 'slow-1000');
is(wait_run('x'), 'COMPLETED', 'a run that is deleted stops nobody');
$node->safe_psql('postgres',
	"SELECT agno_arun('d', model => 'mock:echo', run_id => 'd2', run_at => now() + interval '500 ms');"
	  . "DELETE FROM agno.runs WHERE run_id = 'd2'");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 0 FROM agno.run_queue"),
	'a run that is deleted does not stay in the queue');

$node->stop;
done_testing();
