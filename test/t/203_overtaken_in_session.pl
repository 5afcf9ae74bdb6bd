# A run is enqueued by a transaction that takes longer than that of the next one of its
# session, which is with its model by then. Neither waits for the other for ever, whatever
# comes in between: calls of tools, and a decision.

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
$node->safe_psql('postgres', q(
	CREATE FUNCTION says(k text) RETURNS text LANGUAGE sql AS 'SELECT k';
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('asks', 'says', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('tools', 'mock:tools', '{public.says}'), ('asks', 'mock:tools', '{asks}')));
foreach my $agent ('tools', 'asks')
{
	my $tool = $agent eq 'tools' ? 'says' : 'asks';
	my @slow = map { $node->background_psql('postgres') } 1, 2;

	# A session that is new is its first transaction's until that ends.
	$node->safe_psql('postgres', "CALL agno_run('hello', model => 'mock:echo', session_id => '$agent', run_id => '$agent-hello')");
	foreach my $n (0, 1)
	{
		$slow[$n]->query_safe('BEGIN');
		$slow[$n]->query_safe("SELECT run_id FROM agno_arun('first', model => 'mock:echo', session_id => '$agent', run_id => '$agent-slow$n-$_')") foreach 1, 2;
	}
	enqueue($agent, 'mock:tools-1000', agent_id => $agent, session_id => $agent, timeout => '30 s', input => qq({"calls": [[{"name": "$tool", "arguments": {"k": "x"}}]]}));
	enqueue("$agent-last", 'mock:echo', session_id => $agent);
	ok($node->poll_query_until('postgres', "SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = '$agent'"), "$agent: one is with its model");
	$_->query_safe('COMMIT') foreach @slow;
	if ($agent eq 'asks')
	{
		is(wait_run($agent), 'PAUSED', 'it waits for a decision');
		is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
		is(value("status FROM agno_approve_call('$agent')"), 'PENDING', 'which is made');
	}
	expect_run($agent, { status => 'COMPLETED' }, 'it ends');
	expect_run($_, { status => 'COMPLETED' }, "and $_ is executed") foreach (map { ("$agent-slow$_-1", "$agent-slow$_-2") } 0, 1), "$agent-last";
	is(value("string_agg(run_id, ' ' ORDER BY started_at) = '$agent-hello $agent $agent-slow0-1 $agent-slow0-2 $agent-slow1-1 $agent-slow1-2 $agent-last' FROM agno.runs WHERE session_id = '$agent'"), 't', 'one after the other');
	$_->quit foreach @slow;
}

# The other one is at its tools, and goes on first, even if this one is not due for long.
my ($slow, $holder) = map { $node->background_psql('postgres') } 1, 2;
$node->safe_psql('postgres', q(
	CREATE FUNCTION waits() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(203); RETURN 'done'; END $$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('waits', 'mock:tools', '{public.waits}');
	CALL agno_run('hello', model => 'mock:echo', session_id => 'waits')));
$holder->query_safe('SELECT pg_advisory_lock(203)');
$slow->query_safe('BEGIN');
$slow->query_safe("SELECT run_id FROM agno_arun('first', model => 'mock:echo', session_id => 'waits', run_id => 'slow$_->[0]', run_at => $_->[1])") foreach ['', 'NULL'], ['-later', q(now() + interval '1 hour')];
enqueue('waits', 'mock:tools', agent_id => 'waits', session_id => 'waits', timeout => '20 s', input => '{"calls": [[{"name": "waits", "arguments": {}}]]}');
ok($node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted))), 'one is at its tools');
$slow->query_safe('COMMIT');
ok($node->poll_query_until('postgres', q(SELECT state = 'w' FROM agno.run_queue WHERE run_id = 'slow')), 'the other one waits');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
$holder->query_safe('SELECT pg_advisory_unlock(203)');
expect_run($_, { status => 'COMPLETED' }, "$_ ends") foreach 'waits', 'slow';
is(value("string_agg(run_id, ' ' ORDER BY started_at) FROM agno.runs WHERE session_id = 'waits' AND run_id IN ('waits', 'slow')"), 'waits slow', 'one after the other');
is(value("state FROM agno.run_queue WHERE run_id = 'slow-later'"), 's', 'what is not due is not executed');
$_->quit foreach $slow, $holder;
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

# The other one is with its model when its runner comes to its end: it is executed first,
# when that is there again.
foreach my $end ('restart', 'crash')
{
	my $later = $node->background_psql('postgres');

	$node->safe_psql('postgres', "CALL agno_run('hello', model => 'mock:echo', session_id => '$end')");
	$later->query_safe('BEGIN');
	$later->query_safe("SELECT run_id FROM agno_arun('first', model => 'mock:echo', session_id => '$end', run_id => '$end-later', run_at => now() + interval '1 hour')");
	enqueue("$end-begun", 'mock:slow-3000', session_id => $end);
	ok($node->poll_query_until('postgres', "SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = '$end-begun'"), "$end: one is with its model");
	$later->query_safe('COMMIT');
	$later->quit;
	if ($end eq 'crash') { crash_by_killing(runner_pid()); } else { $node->restart; }
	expect_run("$end-begun", { status => 'COMPLETED' }, 'it is executed again');
	is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
}

$node->stop;
done_testing();
