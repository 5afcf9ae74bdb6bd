# Somebody decides about a run before the run that has called it is PAUSED too, and commits
# when it is: that one goes on to work as well, it does not stay PAUSED with nothing to
# decide until the other one ends.

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
	CREATE FUNCTION waits(k text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(248); RETURN k; END $$;
	CREATE FUNCTION begins(k text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(249); RETURN k; END $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('waits', 'waits', true), ('begins', 'begins', false);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('kid', 'mock:tools', '{begins,waits}'), ('top', 'mock:tools', '{agent:kid}')));
sub call { my ($name, $key, $value) = @_; $value =~ s/(["\\])/\\$1/g; return qq({"name": "$name", "arguments": {"$key": "$value"}}); }
sub task { return '{"calls": [' . join(', ', map { "[$_]" } @_) . ']}'; }
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(248), pg_advisory_lock(249)');
enqueue('top', 'mock:tools', agent_id => 'top', input => task(call('kid', 'task', task(call('begins', 'k', 'a'), call('waits', 'k', 'b')))));
ok($node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM agno.runs WHERE agent_id = 'kid' AND status = 'RUNNING'))), 'they work');
my $kid = value(q(run_id FROM agno.runs WHERE agent_id = 'kid'));

# The runner waits for nobody's lock: the run above becomes PAUSED when it is not locked.
my $locker = $node->background_psql('postgres');
$locker->query_safe(q(BEGIN));
$locker->query_safe(q(SELECT run_id FROM agno.runs WHERE run_id = 'top' FOR UPDATE));
$holder->query_safe('SELECT pg_advisory_unlock(249)');
is(wait_run($kid), 'PAUSED', 'one waits for a decision');
my $decider = $node->background_psql('postgres');
$decider->query_safe('BEGIN');
is($decider->query_safe("SELECT status FROM agno_approve_call('$kid')"), 'PENDING', 'which is made');
is(value("status FROM agno.runs WHERE run_id = 'top'"), 'RUNNING', 'while the one above is not PAUSED');
$locker->query_safe('COMMIT');
ok($node->poll_query_until('postgres', q(SELECT status = 'PAUSED' FROM agno.runs WHERE run_id = 'top')), 'then it is');
$decider->query_safe('COMMIT');
ok($node->poll_query_until('postgres', q(SELECT bool_and(status IN ('PENDING', 'RUNNING')) FROM agno.runs)), 'and goes on when the decision is known');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
$holder->query_safe('SELECT pg_advisory_unlock(248)');
expect_run('top', { status => 'COMPLETED' }, 'to its end');
$_->quit foreach $holder, $locker, $decider;

$node->stop;
done_testing();
