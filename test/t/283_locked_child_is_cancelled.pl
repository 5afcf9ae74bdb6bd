# An agent's run waits for a decision, and somebody who decides has it locked when the run that
# has called it is cancelled: it is cancelled as soon as it can be had, whether its server has
# room or not, and is not forgotten.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $mock = start_mock('mock');
add_mock_server($mock);
add_mock_server($mock, name => 'narrow', options => ", max_concurrency '1'");
make_user('app');
$node->safe_psql('postgres', q(
	CREATE FUNCTION says(k text) RETURNS text LANGUAGE sql AS 'SELECT k';
	SET ROLE app;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('says', 'says', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('asks', 'narrow:tools', '{says}');
	INSERT INTO agno.agents (agent_id, model) VALUES ('hangs', 'mock:hang');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('top', 'mock:tools', '{agent:asks,agent:hangs}')));
sub call { my ($name, $key, $value) = @_; $value =~ s/(["\\])/\\$1/g; return qq({"name": "$name", "arguments": {"$key": "$value"}}); }
my $asks = '{"calls": [[' . call('says', 'k', 'a') . ', ' . call('says', 'k', 'b') . ']]}';
my $session = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]);

# Somebody decides about so many of the two calls of the child while its family is cancelled.
foreach my $decided (1, 2)
{
	my $top = "top-$decided";
	my $child = "run_id FROM agno.runs WHERE parent_run_id = '$top' AND agent_id = 'asks'";

	enqueue($top, 'mock:tools', role => 'app', agent_id => 'top', timeout => '200 s',
		input => '{"calls": [[' . call('asks', 'task', $asks) . ', ' . call('hangs', 'task', 'x') . ']]}');
	wait_until('the child to wait', sub { value("count(*) FROM agno.runs WHERE parent_run_id = '$top' AND status = 'PAUSED'") == 1 });
	my $run_id = value($child);
	$session->query_safe('BEGIN');
	$session->query_safe("SELECT agno_approve_call('$run_id', tool_call_id) FROM agno.approvals WHERE run_id = '$run_id' ORDER BY 1 LIMIT $decided");

	# When it can be had, its server has no room.
	enqueue("busy-$decided", 'narrow:hang', role => 'app');
	wait_for_request("busy-$decided");
	as('app', "SELECT agno_cancel_run('$top')");
	expect_run($top, { status => 'CANCELLED' }, 'the family is cancelled');
	wait_until('the child to be put off', sub { value("cancelled FROM agno.run_queue WHERE run_id = '$run_id'") eq 't' });
	$session->query_safe('COMMIT');
	expect_run($run_id, { status => 'CANCELLED', attempt => 1, 'jsonb_array_length(messages) >= 2' => 'true' }, "the child is, too, with $decided decided");
	as('app', "SELECT agno_cancel_run('busy-$decided')");
}
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
is(value('count(*) FROM agno.run_queue'), 0, 'nothing is left');
is(value('count(*) FROM agno.approvals'), 0, 'nor to be decided');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$session->quit;
$node->stop;
done_testing();
