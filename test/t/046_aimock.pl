# Conversations in the three APIs, streamed and not, with a model server that we
# did not write (@copilotkit/aimock): text, reasoning, history, 429, 503, answers
# that are cut, errors, and chaos. What it says is in interop/aimock/fixtures.json.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $server = start_npm('aimock', $port, 'llmock', '-p', $port, '-f',
	"$FindBin::Bin/../interop/aimock/fixtures.json");
if (!$server)
{
	diag('SKIPPED: the npm packages cannot be installed');
	plan skip_all => 'the npm packages cannot be installed';
}

my $node = new_node('main');
my $url = "http://127.0.0.1:$port/v1";
my %models = (
	'openai-responses' => 'gpt-5-mini',
	'openai-chat' => 'deepseek-reasoner',
	'anthropic' => 'claude-sonnet-4');
foreach my $api (keys %models)
{
	$node->safe_psql('postgres', qq(
		CREATE SERVER "$api" FOREIGN DATA WRAPPER agno_bg
			OPTIONS (api '$api', base_url '$url');
		CREATE USER MAPPING FOR PUBLIC SERVER "$api" OPTIONS (api_key 'sk-x')));
}
$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, add_history_to_context)
		VALUES ('rememberer', true);
	CREATE FUNCTION weather(town text) RETURNS text LANGUAGE sql STABLE
		AS 'SELECT ''sun in '' || town';
	INSERT INTO agno.agents (agent_id, tools) VALUES ('forecaster', '{weather}')));

my $said = 'A mock says: all is well, in more than twenty characters.';
my $number = 0;

# Execute a run; returns its status and content.
sub ask
{
	my ($api, $stream, $input, $more) = @_;
	my $id = 'run ' . ++$number;
	$node->safe_psql('postgres',
		"SELECT agno_arun('$input', model => '$api:$models{$api}',
			stream => $stream, run_id => '$id'" . ($more // '') . ')');
	wait_run($id);
	return value("status, content FROM agno.runs WHERE run_id = '$id'");
}

sub last_run
{
	my ($columns) = @_;
	return value("$columns FROM agno.runs WHERE run_id = 'run $number'");
}

foreach my $api (sort keys %models)
{
	foreach my $stream ('false', 'true')
	{
		my $what = $api . ($stream eq 'true' ? ', streamed' : '');
		my $tag = "$api $stream";

		is(ask($api, $stream, "hello $tag"), "COMPLETED|$said",
			"$what: a run completes with the text of the server");
		is(last_run("metrics->'total_tokens'"), 18,
			"$what: the tokens are counted");
		is(ask($api, $stream, "reason $tag"),
			'COMPLETED|Forty-two, after some thought.',
				"$what: a run completes with an answer after reasoning");
		is(last_run('reasoning_content'), 'Let me think about it.',
			"$what: the reasoning before the answer is kept");

		my $session = ", agent_id => 'rememberer', session_id => 'talk $tag'";
		is(ask($api, $stream, "first question", $session),
			"COMPLETED|$said",
				"$what: the first question of a session is answered");
		is(ask($api, $stream, "second question", $session),
			'COMPLETED|The second answer.',
				"$what: the second question is asked with the first");

		is(ask($api, $stream, "two towns $tag", ", agent_id => 'forecaster'"),
			'COMPLETED|Let me look.Sun in both.',
				"$what: a conversation with tools comes to its end");
		is(value("string_agg(coalesce(result, sqlstate, left(error, 25)), '; ' ORDER BY turn, call_no)
				FROM agno.tool_calls WHERE run_id = 'run $number'"),
			'sun in Oslo; sun in Rome; 22023; Error: The requested tool',
				"$what: each call has its result, or its error");

		is(ask($api, $stream, "refused $tag") =~ s/\n.*//sr,
			'ERROR|' . last_run("error->>'message'"),
				"$what: an error of the server ends the run in ERROR");
		like(last_run("error->>'message'"), qr/No such model/,
			"$what: the error has the words of the server");
	}
}

# Once each, since aimock counts
foreach my $api (sort keys %models)
{
	$server->kill_kill;
	$server = start_npm('aimock', $port, 'llmock', '-p', $port, '-f',
		"$FindBin::Bin/../interop/aimock/fixtures.json");
	is(ask($api, 'false', 'limited'), "COMPLETED|$said",
		"$api: a run completes after a 429");
	is(ask($api, 'false', 'overloaded'), "COMPLETED|$said",
		"$api: a run completes after a 503");
	is(ask($api, 'true', 'cut'), "COMPLETED|$said",
		"$api: a run whose stream is cut is asked for again");
	is(value("count(*) FILTER (WHERE event = 'RunRetried'),
			max(seq) = count(*) FROM agno.run_events WHERE run_id = 'run $number'"),
		'1|t', "$api: subscribers hear that the answer starts anew");
	like(ask($api, 'true', 'cut for ever'), qr/^ERROR/,
		"$api: a run whose stream is always cut ends in ERROR");
	is(last_run("error->>'type'"), 'connection',
		"$api: its error is a broken connection");
}

# Chaos: one request in three fails in some way.
$server->kill_kill;
$server = start_npm('aimock', $port, 'llmock', '-p', $port, '--chaos-drop', '0.1',
	'--chaos-malformed', '0.1', '--chaos-disconnect', '0.15', '-f',
	"$FindBin::Bin/../interop/aimock/fixtures.json");
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 90) i, agno_arun('chaos ' || i,
		model => (ARRAY['openai-responses:m', 'openai-chat:m', 'anthropic:m'])
			[1 + i % 3], stream => i % 2 = 0, run_id => 'chaos ' || i)));
ok( $node->poll_query_until('postgres',
		'SELECT NOT EXISTS (SELECT FROM agno.run_queue)'),
	'chaos: every run comes to an end');
my ($completed, $error, $wrong) = split /\|/, $node->safe_psql('postgres', qq(
	SELECT count(*) FILTER (WHERE status = 'COMPLETED'),
		count(*) FILTER (WHERE status = 'ERROR'
			AND error->>'type' IN ('provider', 'connection', 'invalid_response')),
		count(*) FILTER (WHERE status = 'COMPLETED' AND content <> '$said')
	FROM agno.runs WHERE run_id LIKE 'chaos %'));
note("chaos: $completed COMPLETED, $error ERROR");
is($completed + $error, 90,
	'chaos: every run is COMPLETED or has an error of its server');
cmp_ok($completed, '>', 45, 'chaos: most runs are COMPLETED');
is($wrong, 0, 'chaos: no COMPLETED run has half an answer');

$node->stop;
done_testing();
