# agno_bg.retention keeps a family as a whole: no child goes before its parent, and no
# parent while one of its descendants has ended a short while ago or not at all.

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
as('app', q{
	INSERT INTO agno.agents (agent_id, model) VALUES ('leaf', 'mock:echo');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('middle', 'mock:tools', '{agent:leaf}');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('top', 'mock:tools', '{agent:middle}');});
my $task = '{"calls": [[{"name": "leaf", "arguments": {"task": "x"}}, {"name": "leaf", "arguments": {"task": "y"}}]]}';
call_tools($_, 'top', [ [ [ middle => { task => $task } ] ] ], role => 'app') foreach qw(old young);
expect_run($_, { status => 'COMPLETED' }, $_) foreach qw(old young);
is(value('count(*) FROM agno.runs'), 8, 'two families of four');

# All of one is old, of the other all but one of the lowest.
$node->safe_psql('postgres', q(UPDATE agno.runs SET created_at = created_at - interval '1 h', finished_at = finished_at - interval '1 h';
	UPDATE agno.sessions SET created_at = created_at - interval '1 h', updated_at = updated_at - interval '1 h';
	UPDATE agno.runs SET finished_at = now() + interval '1 h' WHERE run_id = (SELECT min(l.run_id) FROM agno.runs l JOIN agno.runs m ON m.run_id = l.parent_run_id
		WHERE m.parent_run_id = 'young')));
configure(retention => '2s');
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.runs WHERE run_id = 'old'))), 'a family that is old is deleted');
is(value('count(*) FROM agno.runs'), 4, 'as a whole, and the other is kept as a whole');
is(value(q(count(*) FROM agno.tool_calls c WHERE NOT EXISTS (SELECT FROM agno.runs r WHERE r.run_id = c.run_id))), 0, 'with its calls');
is(value(q((SELECT count(*) FROM agno.sessions) || ' ' || (SELECT count(DISTINCT session_id) FROM agno.runs))), '4 4', 'and sessions');
$node->safe_psql('postgres', q(UPDATE agno.runs SET finished_at = finished_at - interval '2 h'));
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.runs))), 'until it is old, too');
done_testing();
