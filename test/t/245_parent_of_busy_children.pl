# A run whose agents wait for somebody's decision is PAUSED with them. When one of them goes
# on and the other is cancelled, nobody has anything to decide: it is not PAUSED any more,
# and neither is who has called it.

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
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('kid', 'mock:tools', '{waits}'), ('middle', 'mock:tools', '{agent:kid}'), ('top', 'mock:tools', '{agent:middle}')));
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(245)');
sub call { my ($name, $key, $value) = @_; $value =~ s/(["\\])/\\$1/g; return qq({"name": "$name", "arguments": {"$key": "$value"}}); }
sub task { return '{"calls": [[' . join(', ', @_) . ']]}'; }
my $middle = task(map { call('kid', 'task', task(call('waits', 'k', $_))) } 'a', 'b');
enqueue('top', 'mock:tools', agent_id => 'top', input => task(call('middle', 'task', $middle)));
is(wait_run('top'), 'PAUSED', 'it waits with them');
my @kids = split /\n/, $node->safe_psql('postgres', q(SELECT run_id FROM agno.runs WHERE agent_id = 'kid' ORDER BY run_id));
value("status FROM agno_approve_call('$kids[0]')");
value("agno_cancel_run('$kids[1]')");
ok($node->poll_query_until('postgres', q(SELECT bool_and(status = 'RUNNING') FROM agno.runs WHERE agent_id IN ('top', 'middle'))), 'they are RUNNING while one of them works');
is(value("status FROM agno.runs WHERE run_id = '$kids[0]'"), 'RUNNING', 'which does');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
$holder->query_safe('SELECT pg_advisory_unlock(245)');
expect_run('top', { status => 'COMPLETED' }, 'and goes on when that has ended');
$holder->quit;

$node->stop;
done_testing();
