# Who waits for a run keeps nothing locked: a command that needs agno.runs for itself is
# executed meanwhile. Else it would wait for the caller, the runner, which is to store the
# run, for the command, and the caller for the run. Where the caller's own statement, or
# transaction, has a table locked that the command waits for, it is told of that deadlock.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => q(deadlock_timeout = '300 ms'));
add_mock_server(start_mock('mock'));
make_user('app');

my %waits = (
	'CALL agno_run' => q(CALL agno_run('x', model => 'mock:gate', run_id => 'call')),
	agno_wait_run => q(SELECT status FROM agno_wait_run('wait')),
	'agno_wait_run with a timeout' => q(SELECT status FROM agno_wait_run('timeout', '1 min')),
	'the second one in a statement' => q(SELECT w.status FROM unnest('{done,second}'::text[]) i, agno_wait_run(i) w),
	'agno_wait_run in a subtransaction' => q(BEGIN; SAVEPOINT s; SELECT status FROM agno_wait_run('savepoint'); ROLLBACK TO s; COMMIT));
like(as('app', q(CALL agno_run('x', model => 'mock:echo', run_id => 'done'))), qr/COMPLETED/, 'a run');
enqueue($_, 'gate', role => 'app') foreach qw(wait timeout second savepoint);
my @sessions;
foreach my $wait (values %waits)
{
	my $session = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]);

	$session->query_until(qr/begun/, "\\echo begun\n$wait;\n\\echo ended\n");
	push @sessions, $session;
}
ok($node->poll_query_until('postgres', "SELECT count(*) = 5 FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Extension'"), 'callers wait');
is(value("count(*) FROM pg_locks WHERE relation = 'agno.runs'::regclass AND pid IN (SELECT pid FROM pg_stat_activity WHERE usename = 'app')"), 0, 'and keep nothing locked');
my $result = $node->psql('postgres', q(SET statement_timeout = '30 s'; VACUUM FULL agno.runs));
is($result, 0, 'a command that needs the table for itself is executed');
open_gate();
$_->query_until(qr/ended/, '') foreach @sessions;
is(value("string_agg(run_id || ' ' || status, ', ' ORDER BY run_id) FROM agno.runs"),
	'call COMPLETED, done COMPLETED, savepoint COMPLETED, second COMPLETED, timeout COMPLETED, wait COMPLETED', 'and the callers hear of the ends of their runs');
$_->quit foreach @sessions;

# A caller that has the table locked looks now and then whether it is in the way.
close_gate();
$node->safe_psql('postgres', 'CREATE TABLE tickets AS SELECT 1 AS a; GRANT SELECT ON tickets TO app');
my $full = 'VACUUM FULL agno.runs';
append_to_file("$PostgreSQL::Test::Utils::tmp_check/often.sql", "NOTIFY often;\n\\sleep 100 ms\n");
my $often = start_program('pgbench', '-n', '-d', $node->connstr('postgres'), '-T', 600, '-f', "$PostgreSQL::Test::Utils::tmp_check/often.sql");
foreach my $pair (
	[ q(SELECT w.status FROM agno.runs r, agno_wait_run(r.run_id) w WHERE r.run_id LIKE 'late%'), $full ],
	[ q(BEGIN; SELECT count(*) FROM agno.runs; SELECT status FROM agno_wait_run('late', '1 h'); COMMIT), $full ],
	[ q(BEGIN; SELECT count(*) FROM agno.runs; DO $$ BEGIN FOR i IN 1..200 LOOP PERFORM FROM agno_wait_run('late', '100 ms'); END LOOP; END $$; COMMIT), $full ],
	[ q(LISTEN often; BEGIN; SELECT count(*) FROM agno.runs; SELECT status FROM agno_wait_run('late', '1 h'); COMMIT), $full ],
	[ q(BEGIN; SELECT count(*) FROM agno.agents; SELECT status FROM agno_wait_run('late', '1 h'); COMMIT), 'VACUUM FULL agno.agents' ],
	[ q(SELECT w.status FROM tickets t, agno_wait_run('late') w), 'BEGIN; LOCK TABLE agno.runs; LOCK TABLE tickets; COMMIT' ],
	[ q(SELECT w.status FROM tickets t, agno_wait_run('late') w), 'BEGIN; LOCK TABLE agno.runs; SELECT pg_sleep(1.5); LOCK TABLE tickets; COMMIT' ])
{
	my ($statement, $command) = @$pair;

	$node->safe_psql('postgres', q(DELETE FROM agno.runs WHERE run_id = 'late'));
	enqueue('late', 'slow-3000', role => 'app');
	my $session = $node->background_psql('postgres', extra_params => [ '-U', 'app' ], on_error_stop => 0);

	$session->query_until(qr/begun/, "\\echo begun\n$statement;\n\\echo ended\n");
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Extension'"), 'a caller waits that has the table locked');
	is($node->psql('postgres', "SET statement_timeout = '20 s'; $command"), 0, "the command is executed: $command");
	$session->query_until(qr/ended/, '');
	like($session->{stderr}, qr/ERROR:  cannot wait for run "late" any longer.*HINT:  Wait in a transaction/s, 'after the caller has been told');
	expect_run('late', { status => 'COMPLETED' }, 'and so is the run');
	$session->quit;
}

# Who has no more rights than others cannot have them told that.
$node->safe_psql('postgres', q(DELETE FROM agno.runs WHERE run_id = 'late'));
make_user('greedy');
enqueue('late', 'slow-3000', role => 'app');
my ($waiter, $greedy) = map { $node->background_psql('postgres', extra_params => [ '-U', $_ ], on_error_stop => 0) } 'app', 'greedy';
$waiter->query_until(qr/begun/, "SELECT pg_advisory_lock(1);\n\\echo begun\nSELECT status FROM agno_wait_run('late');\n\\echo ended\n");
$greedy->query_until(qr/begun/, "\\echo begun\nBEGIN; LOCK TABLE agno.agents IN SHARE MODE;\nSELECT pg_advisory_lock(1);\n");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'greedy' AND wait_event_type = 'Lock'"), 'somebody waits who has locked a table');
$waiter->query_until(qr/ended/, '');
is($waiter->{stderr} =~ /cannot wait/ ? 'told' : '', '', 'who waits for a run is not told');
$_->quit foreach $waiter, $greedy;

$often->kill_kill;
$node->stop;
done_testing();
