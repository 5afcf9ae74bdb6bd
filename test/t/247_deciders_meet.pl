# Two decide about a family of agents' runs, while the run at its top is PAUSED only after
# the first has locked some: neither waits for the other for ever.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q(
	CREATE FUNCTION waits(k text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(247); RETURN k; END $$;
	CREATE FUNCTION says(k text) RETURNS text LANGUAGE sql AS 'SELECT k';
	INSERT INTO agno.tools (tool, function) VALUES ('waits', 'waits');
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('says', 'says', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('busy', 'mock:tools', '{waits}'), ('kid', 'mock:tools', '{says}'),
		('middle', 'mock:tools', '{agent:kid}'), ('top', 'mock:tools', '{agent:middle, agent:busy}')));
my $busy = $node->background_psql('postgres');
$busy->query_safe('SELECT pg_advisory_lock(247)');

sub call { my ($name, $key, $value) = @_; $value =~ s/(["\\])/\\$1/g; return qq({"name": "$name", "arguments": {"$key": "$value"}}); }
sub task { return '{"calls": [[' . join(', ', @_) . ']]}'; }
my $kid = task(call('says', 'k', 'a'));
my $middle = task(call('kid', 'task', $kid));
enqueue('top', 'mock:tools', agent_id => 'top', input => task(call('middle', 'task', $middle), call('busy', 'task', task(call('waits', 'k', 'b')))));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 2 FROM agno.runs WHERE status = 'PAUSED')), 'two are PAUSED, below one that is not');
my $kid_id = value(q(run_id FROM agno.runs WHERE agent_id = 'kid'));

# Somebody holds the lowest: who decides has the middle by now.
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT FROM agno.runs WHERE run_id = '$kid_id' FOR UPDATE");
my @out = ('', '');
my @deciders;
foreach my $n (0, 1)
{
	push @deciders, IPC::Run::start([ 'psql', '-XAt', '-d', $node->connstr('postgres'), '-c', "SELECT status FROM agno_approve_call('$kid_id')" ], '<', '/dev/null', '>&', \$out[$n]);
	ok($node->poll_query_until('postgres', "SELECT count(*) = $n + 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '^SELECT status FROM agno_approve_call'"), 'one who decides waits');
	next if $n > 0;
	$busy->query_safe('SELECT pg_advisory_unlock(247)');
	ok($node->poll_query_until('postgres', q(SELECT status = 'PAUSED' FROM agno.runs WHERE run_id = 'top')), 'the top is PAUSED now');
}
$holder->query_safe('ROLLBACK');
$_->finish foreach @deciders;
is_deeply([ grep { /deadlock/ } @out ], [], 'there is no deadlock');
is(scalar(grep { /^PENDING/m } @out), 1, 'one of them has decided');
expect_run('top', { status => 'COMPLETED' }, 'all of them go on');
$_->quit foreach $holder, $busy;

$node->stop;
done_testing();
