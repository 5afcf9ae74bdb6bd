# Agents' runs of one session, called by one run: the first waits for a decision, and those
# behind it have not been looked at, since their role has no more slots. Nobody works, so the
# run that has called them is PAUSED as well.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_runs_per_role = 1\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(
	CREATE FUNCTION says(k text) RETURNS text LANGUAGE sql AS 'SELECT k';
	SET ROLE app;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('says', 'says', true);
	INSERT INTO agno.agents (agent_id, model, tools, add_history_to_context, num_history_runs) VALUES ('kid', 'mock:tools', '{says}', true, 1);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('top', 'mock:tools', '{agent:kid}')));
sub call { my ($name, $key, $value) = @_; $value =~ s/(["\\])/\\$1/g; return qq({"name": "$name", "arguments": {"$key": "$value"}}); }
my $asks = '{"calls": [[' . call('says', 'k', 'a') . ']]}';
enqueue('top', 'mock:tools', role => 'app', agent_id => 'top', session_id => 's', timeout => '100 s',
	input => '{"calls": [[' . join(', ', map { call('kid', 'task', $_) } $asks, ('{"calls": []}') x 5) . ']]}');
is(wait_run('top'), 'PAUSED', 'it waits with the first');
is(value(q(string_agg(status::text, ' ' ORDER BY created_at) FROM agno.runs WHERE agent_id = 'kid')), 'PAUSED PENDING PENDING PENDING PENDING PENDING', 'which the others wait for');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
is(value(q(status FROM agno_approve_call('top'))), 'PENDING', 'when that has been decided');
expect_run('top', { status => 'COMPLETED' }, 'all of them go on');

$node->stop;
done_testing();
