# What a Chat Completions server has told beside its calls - reasoning_content, extra_content - goes
# back to the model that told it, in the run and in later ones of its session, and to no other: some
# servers refuse a conversation without, others one with it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_server('demanding', 'demanding_server.py'), name => 'other');
$node->safe_psql('postgres', q(ALTER SERVER other OPTIONS (SET api 'openai-chat')));
make_user('app');
$node->safe_psql('postgres', q(
	CREATE FUNCTION noon() RETURNS text LANGUAGE sql AS 'SELECT ''noon''';
	INSERT INTO agno.tools (tool, function) VALUES ('noon', 'noon()');
	INSERT INTO agno.agents (agent_id, name, model, tools, add_history_to_context) VALUES
		('demands', 'd', 'other:demands-1', '{noon}', true), ('strict', 's', 'other:strict', '{noon}', true)));

foreach my $stream ('false', 'true')
{
	foreach my $agent ('demands', 'demands', 'strict')
	{
		my $run = value(qq(run_id FROM agno_arun('go', agent_id => '$agent', session_id => 's-$stream', stream => $stream)));
		is(wait_run($run), 'COMPLETED', "$agent completes, stream => $stream");
	}
}

$node->stop('immediate');
done_testing();
