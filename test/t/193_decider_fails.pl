# Who decides about a run cannot have its lock in time, and catches that error: he is
# nobody else then, and what his transaction does afterwards is committed with it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(
	CREATE FUNCTION says(k text) RETURNS text LANGUAGE sql AS 'SELECT k';
	CREATE TABLE seen (who text);
	GRANT INSERT ON seen TO app;
	SET ROLE app;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('says', 'says', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{says}')));
enqueue('r', 'mock:tools', role => 'app', agent_id => 'a', input => '{"calls": [[{"name": "says", "arguments": {"k": "x"}}]]}');
is(wait_run('r'), 'PAUSED', 'it waits for a decision');
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT FROM agno.runs WHERE run_id = 'r' FOR UPDATE");

foreach my $call (q(agno_approve_call('r')), q(agno_reject_call('r')), q(agno_answer_call('r', 'c', '{}')), q(agno_continue_run('r', '[]')))
{
	my ($name) = $call =~ /(\w+)/;
	my ($status, $out, $err) = $node->psql('postgres', qq(SET ROLE app; SET lock_timeout = '100ms';
		DO \$\$ BEGIN PERFORM $call; EXCEPTION WHEN lock_not_available THEN INSERT INTO seen VALUES (current_user || ' $name'); END \$\$;
		SELECT current_user));

	is($out, 'app', "$name: the session's user is who it was");
	is($err, '', 'there is no complaint');
}
is($node->safe_psql('postgres', q(SELECT string_agg(who, ', ' ORDER BY who) FROM seen)), 'app agno_answer_call, app agno_approve_call, app agno_continue_run, app agno_reject_call', 'so is its handlers\'');
$holder->query_safe('ROLLBACK');
is(value("status FROM agno_approve_call('r')"), 'PENDING', 'it can be decided about afterwards');
expect_run('r', { status => 'COMPLETED' }, 'and goes on');
$holder->quit;

$node->stop;
done_testing();
