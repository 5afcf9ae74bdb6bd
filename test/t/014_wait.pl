# agno_wait_run sleeps until its run has ended, obeys timeouts and cancels,
# refuses what it could never see, and wakes only for its own run.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "max_connections = 60\n");
add_mock_server(start_mock('mock'));

enqueue('slow', 'slow-1000');
is(wait_run('slow'), 'COMPLETED', 'agno_wait_run returns when the run ends');
is(wait_run('slow'), 'COMPLETED',
	'agno_wait_run returns for a run that has ended');
is(value("count(*) FROM agno_wait_run('none')"),
	0, 'agno_wait_run gives nothing for an unknown run');
is(value("count(*) FROM agno_wait_run(NULL)"),
	0, 'agno_wait_run gives nothing for NULL');

enqueue('hang', 'hang');
enqueue('slow too', 'slow-1000');
is(value("status FROM agno_wait_run('slow too', '30 days')"),
	'COMPLETED', 'a timeout of more milliseconds than an int has is long');

is(value("status FROM agno_wait_run('hang', '300 ms')"),
	'RUNNING',
	'a timeout returns the run as it is');
is(value("status IN ('PENDING', 'RUNNING') FROM agno_wait_run('hang', '0')"),
	't',
	'a timeout of nothing returns the run as it is');
is(outcome("SET statement_timeout = '300ms'; SELECT agno_wait_run('hang')"),
	'57014', 'statement_timeout is obeyed');
is(outcome("BEGIN; SELECT agno_arun('x', model => 'mock:echo', run_id => 'own');"
		  . "SELECT agno_wait_run('own')"),
	'55000', 'a run of the own transaction is refused');
is(outcome("BEGIN; SAVEPOINT s; SELECT agno_arun('x', model => 'mock:echo', "
		  . "run_id => 'own'); RELEASE s; SELECT agno_wait_run('own')"),
	'55000',
	'a run of the own transaction is refused if it comes from a savepoint');
is(outcome("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT agno_wait_run('hang')"),
	'25001', 'a snapshot that never sees the end is refused');
is(outcome("BEGIN ISOLATION LEVEL REPEATABLE READ; CALL agno_run('x')"),
	'2D000', 'CALL agno_run within a transaction is refused');

# A session whose transactions keep their snapshots sees its run end all the same, and
# what follows in a procedure is isolated as it is to be.
$node->safe_psql('postgres', q{CREATE PROCEDURE isolated(INOUT level text DEFAULT NULL) LANGUAGE plpgsql AS $$
	DECLARE id text; status agno.run_status; content text; BEGIN
	CALL agno_run('Hello', model => 'mock:echo', run_id => id, status => status, content => content);
	level := concat_ws(' ', status, content, current_setting('transaction_isolation')); END $$});
is($node->safe_psql('postgres', "SET default_transaction_isolation = '$_'; CALL isolated()"), "COMPLETED You said: Hello $_",
	"CALL agno_run in a session that is $_")
  foreach 'repeatable read', 'serializable', 'read committed';

# Thirty callers, thirty runs: each comes back with its own, and those whose
# run goes on do not use the processor.
my @callers;
foreach my $i (1 .. 30)
{
	enqueue("run$i", $i <= 15 ? 'hang' : 'slow-2000');
	my $caller = $node->background_psql('postgres');
	$caller->query_until(qr/go/,
		"\\echo go\nSELECT run_id || ' ' || status FROM agno_wait_run('run$i');\n"
	);
	push @callers, $caller;
}
is($callers[$_]->query('SELECT 1'), 'run' . ($_ + 1) . " COMPLETED\n1",
	'caller ' . ($_ + 1))
  foreach 15 .. 29;
is(value("count(*) FROM pg_stat_activity
		WHERE state = 'active' AND query LIKE '%agno_wait_run(''run%'"),
	15,
	'the callers whose runs go on still wait');
$node->safe_psql('postgres',
	"SELECT count(agno_cancel_run('run' || i)) FROM generate_series(1, 15) i");
is($callers[$_]->query('SELECT 1'), 'run' . ($_ + 1) . " CANCELLED\n1",
	'caller ' . ($_ + 1))
  foreach 0 .. 14;
$_->quit foreach @callers;

# A caller who waits for a run that is still to be cancelled while it waits
# for its time is woken, too.
$node->safe_psql('postgres',
	"SELECT agno_arun('x', model => 'mock:echo', run_id => 'future', "
	  . "run_at => now() + interval '1 hour')");
my $caller = $node->background_psql('postgres');
$caller->query_until(qr/go/,
	"\\echo go\nSELECT status FROM agno_wait_run('future');\n");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity
	WHERE wait_event_type = 'Extension' AND query LIKE '%future%'");
$node->safe_psql('postgres', "SELECT agno_cancel_run('future')");
is($caller->query('SELECT 1'), "CANCELLED\n1",
	'a caller is woken when a run for later is cancelled');
$caller->quit;

$node->stop;
done_testing();
