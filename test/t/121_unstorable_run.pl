# A run that cannot be stored costs nobody else anything, whatever comes for it: a
# trigger refuses what its runner writes, and it is cancelled meanwhile. And a parent
# that is told of its children in the same turn that it goes on in can be stored: somebody
# has it locked while its child ends.

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
make_user('app', 'other');

#-------------------------------------------------------------------------
# Neither stored nor ended
#-------------------------------------------------------------------------

enqueue('never', 'gate', role => 'app', stream => \'true');
wait_for_request('never');
refuse_updates(q(OLD.run_id = 'never' AND NEW.status <> 'RUNNING'), 'not this one');
open_gate();
$node->wait_for_log(qr/not this one/);
is(as('app', q(SELECT agno_cancel_run('never'))), 't', 'a run that cannot be stored is cancelled');
enqueue("after$_", 'echo', role => 'other') foreach 1 .. 20;
expect_run('after20', { status => 'COMPLETED' }, 'those of others');
my $before = cpu_of(runner_pid());
my $lines = logged(qr/not this one/);
enqueue('busy', 'slow-3000', role => 'other');
expect_run('busy', { status => 'COMPLETED' }, 'go on');
cmp_ok(cpu_of(runner_pid()) - $before, '<', 0.5, 'the runner is not busy with it');
cmp_ok(logged(qr/not this one/) - $lines, '<', 3, 'and does not fill the log');
$node->safe_psql('postgres', 'DROP FUNCTION refuse() CASCADE');
replace_runner();
expect_run('never', { status => 'CANCELLED' }, 'once it can be stored it is CANCELLED, and');
is($node->safe_psql('postgres', q(SELECT count(*) FROM agno.run_events WHERE run_id = 'never' AND event = 'RunCancelled')), '1',
	'subscribers are told');

#-------------------------------------------------------------------------
# Told and going on in one turn
#-------------------------------------------------------------------------

as('app', q{
	INSERT INTO agno.agents (agent_id, model) VALUES ('child', 'mock:gate');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('parent', 'mock:tools', '{agent:child}')});
close_gate();
as('app', q(SELECT agno_arun('{"calls": [[{"name": "child", "arguments": {"task": "t1"}}]], "id": "p"}', 'parent', run_id => 'p', stream => true)));
wait_for_request('t1');
my $holder = $node->background_psql('postgres');
$holder->query_safe(q(BEGIN; SELECT FROM agno.runs WHERE run_id = 'p' FOR UPDATE));
open_gate();
ok($node->poll_query_until('postgres', q(SELECT status = 'COMPLETED' FROM agno.runs WHERE parent_run_id = 'p')), 'a child ends while its parent is locked');
ok($node->poll_query_until('postgres', q(SELECT looks > 0 FROM agno.run_queue WHERE run_id = 'p')), 'which cannot be had');
$holder->query_safe('COMMIT');
$holder->quit;
expect_run('p', { status => 'COMPLETED' }, 'the parent then');
is($node->safe_psql('postgres', q(SELECT regexp_replace(string_agg(event, ' ' ORDER BY seq), '(RunContent )+', 'RunContent '), max(seq) = count(*) FROM agno.run_events WHERE run_id = 'p')),
	'RunStarted ToolCallStarted ToolCallCompleted RunContent RunCompleted|t', 'is told of in order, without gaps');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
done_testing();
