# Request bodies are valid against OpenAI's own OpenAPI description, as the mock
# server judges it that OpenAI's SDK repositories use (@stdy/cli): it answers
# with status 400 when they are not. What it answers otherwise is random.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $port = PostgreSQL::Test::Cluster::get_free_port();
if (!start_npm('steady', $port, 'steady', '-p', $port, '--log-level', 'full',
		'--reject-on-sdk-error', '--no-color',
		"$FindBin::Bin/../interop/steady/openai-openapi.yaml"))
{
	diag('SKIPPED: the npm packages cannot be installed');
	plan skip_all => 'the npm packages cannot be installed';
}

my $node = new_node('main', conf => 'agno_bg.retries = 0');
$node->safe_psql('postgres', qq(
	CREATE SERVER responses FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-responses', base_url 'http://127.0.0.1:$port');
	CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-chat', base_url 'http://127.0.0.1:$port');
	CREATE USER MAPPING FOR PUBLIC SERVER responses OPTIONS (api_key 'sk-x');
	CREATE USER MAPPING FOR PUBLIC SERVER chat OPTIONS (api_key 'sk-x');
	INSERT INTO agno.agents (agent_id, name, description, instructions,
		expected_output, markdown, add_history_to_context, session_state,
		add_session_state_to_context)
	VALUES ('all', 'All', 'You know all.', '{Be brief.,Be kind.}', 'One line',
		true, true, '{"name": "Ann"}', true);
	CREATE TYPE mood AS ENUM ('good', 'bad');
	CREATE FUNCTION tool(a integer, b text[] DEFAULT '{}', c jsonb DEFAULT NULL,
		d mood DEFAULT 'good', e date DEFAULT NULL) RETURNS text LANGUAGE sql
		AS \$\$ SELECT 'x' \$\$;
	CREATE FUNCTION other() RETURNS void LANGUAGE sql AS \$\$ SELECT \$\$;
	INSERT INTO agno.agents (agent_id, tools, tool_choice, add_history_to_context)
	VALUES ('tools', '{tool,other}', NULL, true), ('chooses', '{tool,other}', 'other', false),
		('requires', '{tool}', 'required', false)));

# The HTTP status that the last request of a run was refused with, if it was.
sub refused
{
	my ($name, $arguments, $setup) = @_;
	my $id = "run $name";

	$node->safe_psql('postgres', $setup) if $setup;
	$node->safe_psql('postgres',
		"SELECT agno_arun('Hello', run_id => '$id', timeout => '20 s', $arguments)");
	wait_run($id);
	return value("error FROM agno.runs
		WHERE run_id = '$id' AND error->>'http_status' LIKE '4%'");
}

my $schema = q('{"type": "object", "properties": {"a": {"type": "integer"},
	"b": {"type": "array", "items": {"enum": ["x", "y"]}}}, "required": ["a", "b"],
	"additionalProperties": false}');
foreach my $api (qw(responses chat))
{
	my $limit = $api eq 'chat' ? 'max_completion_tokens' : 'max_output_tokens';
	my $effort = $api eq 'chat' ? '"reasoning_effort": "low"'
	  : '"reasoning": {"effort": "low", "summary": "auto"}, "truncation": "auto"';
	my %cases = (
		'plain' => '',
		'streamed' => 'stream => true',
		'agent' => "agent_id => 'all', user_id => 'u', metadata => '{\"a\": 1}'",
		'schema' => "output_schema => $schema",
		'loose schema' => q(output_schema => '{"type": "object",
			"properties": {"a": {"type": "integer"}}}'),
		'tools' => "agent_id => 'tools'",
		'streamed tools' => "agent_id => 'tools', stream => true",
		'a chosen tool' => "agent_id => 'chooses'",
		'a required tool' => "agent_id => 'requires'",
		'strict tools' => "agent_id => 'tools', output_schema => $schema",
		'tools that keep nothing' => q(agent_id => 'tools', model_options => '{"store": false}'),
		'options' => qq(model_options => '{"temperature": 0.5, "top_p": 0.9,
			"$limit": 100, "store": false, "metadata": {"a": "b"},
			"user": "somebody", $effort}'));

	foreach my $name (sort keys %cases)
	{
		is(refused("$api $name", join ', ', "model => '$api:gpt-5-mini'",
				$cases{$name} || ()),
			'', "$api: a request with $name is accepted");
	}

	# A conversation: an earlier run of the session, as if it had been answered
	my $history = qq('[{"role": "user", "content": "One?"},
		{"role": "assistant", "content": "One."}]');
	is( refused("$api history",
			"model => '$api:gpt-5-mini', agent_id => 'all', session_id => '$api talk'",
			"INSERT INTO agno.sessions (session_id, owner, created_at, updated_at)
				VALUES ('$api talk', current_user::regrole, now(), now());
			INSERT INTO agno.runs (run_id, session_id, status, input, content,
				model, model_provider, messages, owner, priority, created_at,
				finished_at)
			VALUES ('$api first', '$api talk', 'COMPLETED', 'One?', 'One.', 'm',
				'm', $history, current_user::regrole, 0, now(), now())"),
		'', "$api: a request with history is accepted");

	# The same with calls of tools: one as it came, one put together
	foreach my $items ('', $api eq 'chat' ? () : q(, "provider_data": {"output": [
			{"type": "reasoning", "id": "rs_1", "summary": []},
			{"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "tool",
				"arguments": "{}", "status": "completed"}]}))
	{
		my $how = $items ? 'items' : 'calls';
		is( refused("$api $how",
				"model => '$api:gpt-5-mini', agent_id => 'tools', session_id => '$api $how talk'",
				"INSERT INTO agno.sessions (session_id, owner, created_at, updated_at)
					VALUES ('$api $how talk', current_user::regrole, now(), now());
				INSERT INTO agno.runs (run_id, session_id, status, input, content,
					model, model_provider, owner, priority, created_at, finished_at, messages)
				VALUES ('$api $how first', '$api $how talk', 'COMPLETED', 'One?', 'One.', 'm',
					'm', current_user::regrole, 0, now(), now(),
					'[{\"role\": \"user\", \"content\": \"One?\"},
					{\"role\": \"assistant\", \"content\": \"Hm.\", \"tool_calls\": [{\"id\": \"fc_1\",
						\"call_id\": \"call_1\", \"type\": \"function\", \"function\":
						{\"name\": \"tool\", \"arguments\": \"{}\"}}]$items},
					{\"role\": \"tool\", \"content\": \"x\", \"tool_call_id\": \"fc_1\",
						\"tool_name\": \"tool\", \"tool_call_error\": false},
					{\"role\": \"assistant\", \"content\": \"One.\"}]')"),
			'', "$api: a request with $how of tools in its history is accepted");
	}

	isnt(refused("$api wrong", "model => '$api:m',
			model_options => '{\"temperature\": \"hot\"}'"),
		'', "$api: a wrong request is refused");
}
is(refused('background', q(model => 'responses:gpt-5-mini',
		model_options => '{"background": true}')),
	'', 'a request for background mode is accepted');
$node->stop;
done_testing();
