# A decision is made once, whatever happens at the same time: two that decide, a cancel,
# the end of the time, a transaction that is open or prepared, a crash of the server, of
# the runner or of the tool worker between the decision and the call, a dump. What was
# approved is executed exactly once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.max_attempts = 100');
add_mock_server(start_mock('mock'));
make_user('app', 'ann', 'bob');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app; CREATE ROLE deciders; GRANT deciders TO ann, bob');
as('app', q{
	CREATE TABLE app.done (run_id text DEFAULT current_setting('agno_bg.run_id'), tool_call_id text DEFAULT current_setting('agno_bg.tool_call_id'),
		xid xid8 DEFAULT pg_current_xact_id());
	CREATE FUNCTION app.act() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.done DEFAULT VALUES;
		PERFORM pg_advisory_xact_lock_shared(7); RETURN 'acted'; END $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation, approver) VALUES ('act', 'app.act', true, 'deciders');
	INSERT INTO agno.tools (tool, function, requires_confirmation, expires_after) VALUES ('brief', 'app.act', true, '1 s');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{act,brief}')});

sub start { my ($id, $calls) = @_; call_tools($id, 'a', $calls // [ [ ['act'] ] ], role => 'app'); return wait_run($id); }
sub done { return value("count(*) FROM app.done d JOIN agno.tool_calls c USING (tool_call_id) WHERE c.run_id = '$_[0]' AND c.xid = d.xid AND c.status = 'completed'"); }
sub waits_for_lock { return $node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple'))); }

# Two at once.
start('two');
my ($ann, $bob) = map { $node->background_psql('postgres', extra_params => [ '-U', $_ ], on_error_stop => 0) } qw(ann bob);
$ann->query_safe(q(BEGIN; SELECT agno_approve_call('two')));
$bob->query_until(qr/asked/, "\\echo asked\nSELECT agno_reject_call('two');\n");
waits_for_lock();
$ann->query_safe('COMMIT');
$bob->query('SELECT 1');
like($bob->{stderr}, qr/run "two" is not in status PAUSED/, 'of two that decide, one gets an error');
expect_run('two', { status => 'COMPLETED', content => 'Results: acted' }, 'and the other has decided');
is(done('two'), 1, 'the call is made once');

# The first rolls back.
start('back');
$bob->{stderr} = '';
$ann->query_safe(q(BEGIN; SELECT agno_approve_call('back')));
$bob->query_until(qr/asked/, "\\echo asked\nSELECT agno_reject_call('back', note => 'no');\n");
waits_for_lock();
$ann->query_safe('ROLLBACK');
$bob->query('SELECT 1');
unlike($bob->{stderr}, qr/ERROR/, 'if the first rolls back, the second decides');
expect_run('back', { status => 'COMPLETED', content => 'Results: no' }, 'as it wants');
is(done('back'), 0, 'the call is not made');

# A cancel before, and after.
start('cancelled');
my $app = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]);
$bob->{stderr} = '';
$app->query_safe(q(BEGIN; SELECT agno_cancel_run('cancelled')));
$bob->query_until(qr/asked/, "\\echo asked\nSELECT agno_approve_call('cancelled');\n");
waits_for_lock();
$app->query_safe('COMMIT');
$bob->query('SELECT 1');
like($bob->{stderr}, qr/ERROR/, 'what is cancelled is not approved');
expect_run('cancelled', { status => 'CANCELLED' }, 'it is CANCELLED');
start('late-cancel');
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(7)');
$ann->query_safe(q(SELECT agno_approve_call('late-cancel')));
$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted));
is(as('app', q(SELECT agno_cancel_run('late-cancel'))), 't', 'a run can be cancelled while what was approved is executed');
$holder->query_safe('SELECT pg_advisory_unlock(7)');
expect_run('late-cancel', { status => 'CANCELLED' }, 'it is CANCELLED');
is(value(q(count(*) FROM app.done WHERE run_id = 'late-cancel')), 0, 'without an effect');

# The end of the time, while a decision is in an open transaction; and after it.
start('expired', [ [ ['brief'] ] ]);
$app->query_safe(q(BEGIN; SELECT agno_approve_call('expired')));
$node->safe_psql('postgres', 'SELECT pg_sleep(1.5)');
$app->query_safe('COMMIT');
expect_run('expired', { status => 'COMPLETED', content => 'Results: acted' }, 'a decision in time counts, though it commits later');
is(done('expired'), 1, 'the call is made once');
start('over', [ [ ['brief'] ] ]);
$app->query_safe(q(BEGIN; SELECT agno_approve_call('over')));
$node->safe_psql('postgres', 'SELECT pg_sleep(1.5)');
$app->query_safe('ROLLBACK');
$node->poll_query_until('postgres', q(SELECT status = 'COMPLETED' FROM agno.runs WHERE run_id = 'over'));
is(done('over'), 0, 'one that rolls back does not keep the call from being rejected');
$_->quit foreach ($ann, $bob, $app);

# Prepared.
start('prepared');
$node->safe_psql('postgres', q(BEGIN; SELECT agno_approve_call('prepared'); PREPARE TRANSACTION 'decided'));
is(run_status('prepared'), 'PAUSED', 'a prepared decision is none yet');
$node->safe_psql('postgres', q(COMMIT PREPARED 'decided'));
$node->poll_query_until('postgres', q(SELECT status = 'COMPLETED' FROM agno.runs WHERE run_id = 'prepared'));
is(done('prepared'), 1, 'then it is');

# What dies between the decision and the end of the call.
my %deaths = (
	server => sub { $node->stop('immediate'); $node->start; },
	runner => sub { crash_by_killing(runner_pid()); },
	worker => sub { crash_by_killing(value(q(pid FROM agno.workers WHERE kind = 'tool worker' AND state = 'busy'))); },
	stop => sub { $node->stop('fast'); $node->start; });
foreach my $what (sort keys %deaths)
{
	start($what);
	$deaths{stop}->() if $what eq 'stop';
	is(run_status($what), 'PAUSED', "$what: PAUSED");
	eval { $holder->quit };
	$holder = $node->background_psql('postgres');
	$holder->query_safe('SELECT pg_advisory_lock(7)');
	$node->safe_psql('postgres', "SELECT agno_approve_call('$what')", extra_params => [ '-U', 'ann' ]);
	$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted));
	$deaths{$what}->();
	eval { $holder->query_safe('SELECT pg_advisory_unlock(7)') };
	eval { $holder->quit };
	expect_run($what, { status => 'COMPLETED', content => 'Results: acted' }, "$what: what was approved is done after that");
	is(done($what), 1, "$what: once");
}

# A crash right after a pause, and a decision while nobody is there.
start('alone');
$node->stop('immediate');
$node->append_conf('postgresql.conf', 'agno_bg.paused = on');
$node->start;
is(run_status('alone'), 'PAUSED', 'a crash leaves it PAUSED');
is(as('ann', q(SELECT status FROM agno_approve_call('alone'))), 'PENDING', 'a decision while no runs are started');
$node->stop('immediate');
$node->append_conf('postgresql.conf', 'agno_bg.paused = off');
$node->start;
expect_run('alone', { status => 'COMPLETED' }, 'is not forgotten');
is(done('alone'), 1, 'and followed once');

# A dump.
start('dumped');
start('half', [ [ ['act'], ['act'] ] ]);
as('ann', q(SELECT agno_approve_call('half', (SELECT tool_call_id FROM agno.approvals WHERE run_id = 'half' ORDER BY tool_call_id LIMIT 1))));
$node->run_log([ 'pg_dump', '-Fc', '-f', $node->basedir . '/dump', $node->connstr('postgres') ]);
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->run_log([ 'pg_restore', '-d', $node->connstr('copy'), $node->basedir . '/dump' ]);
is(value(q(string_agg(run_id || ' ' || tool, ', ' ORDER BY run_id) FROM agno.approvals), 'copy'), 'dumped act, half act', 'a copy waits for the same decisions');
$node->safe_psql('copy', "SELECT agno_approve_call('$_')", extra_params => [ '-U', 'bob' ]) foreach qw(dumped half);
$node->poll_query_until('copy', q(SELECT count(*) = 2 FROM agno.runs WHERE run_id IN ('dumped', 'half') AND status = 'COMPLETED'));
is(value(q(string_agg(n::text, ' ' ORDER BY run_id) FROM (SELECT run_id, count(*) AS n FROM app.done WHERE run_id IN ('dumped', 'half') GROUP BY 1) d), 'copy'), '1 2', 'and follows them');
is(value(q(count(*) FROM app.done WHERE run_id IN ('dumped', 'half'))), 0, 'the original waits still');
is($node->safe_psql($_, queue_violations()), '', "the queue of $_ is as it should be") foreach qw(postgres copy);

done_testing();
