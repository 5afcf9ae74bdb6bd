# A run whose agents wait for somebody's decision is PAUSED with them. When one of them goes
# on and the other is cancelled, nobody has anything to decide: it is not PAUSED any more.

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
	CREATE FUNCTION waits(k text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(245); RETURN k; END $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('waits', 'waits', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('kid', 'mock:tools', '{waits}'), ('top', 'mock:tools', '{agent:kid}')));
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(245)');
call_tools('top', 'top', [ [ map { [ kid => { task => qq({"calls": [[{"name": "waits", "arguments": {"k": "$_"}}]]}) } ] } 'a', 'b' ] ]);
is(wait_run('top'), 'PAUSED', 'it waits with them');
my @kids = split /\n/, $node->safe_psql('postgres', q(SELECT run_id FROM agno.runs WHERE parent_run_id = 'top' ORDER BY run_id));
value("status FROM agno_approve_call('$kids[0]')");
value("agno_cancel_run('$kids[1]')");
ok($node->poll_query_until('postgres', q(SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'top')), 'it is RUNNING while one of them works');
is(value("status FROM agno.runs WHERE run_id = '$kids[0]'"), 'RUNNING', 'which does');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
$holder->query_safe('SELECT pg_advisory_unlock(245)');
expect_run('top', { status => 'COMPLETED' }, 'and goes on when that has ended');
$holder->quit;

$node->stop;
done_testing();
