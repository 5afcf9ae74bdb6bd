# Agno's own package, of the lines 2 and 3, reads what agno_bg has executed, in
# every status; and sends the same prompts for the same definitions. The
# packages come from the package index into virtual environments in
# test/interop; without it, this test is skipped.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %python = agno_packages();

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);

# Runs in every status.
$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, name, model, description,
		add_history_to_context)
	VALUES ('talker', 'Talker', 'mock:echo', 'D', true);
	SELECT agno_arun('Hello', run_id => 'completed', model => 'mock:echo',
		metadata => '{"a": 1}');
	SELECT agno_arun('Hello', run_id => 'error', model => 'mock:status-400');
	SELECT agno_arun('Hello', run_id => 'incomplete', model => 'mock:incomplete');
	SELECT agno_arun('Hello', run_id => 'reasoning', model => 'mock:reasoning');
	SELECT agno_arun('Hello', run_id => 'running', model => 'mock:hang');
	SELECT agno_arun('Hello', run_id => 'cancelled', model => 'mock:hang');
	SELECT agno_arun('Hello', run_id => 'pending', model => 'mock:echo',
		run_at => '2100-01-01');
	SELECT agno_cancel_run('early');
	SELECT agno_arun('Hello', run_id => 'early', model => 'mock:echo');
	SELECT agno_arun('Hello', run_id => 'dict', model => 'mock:echo',
		output_schema => '{"type": "object", "properties":
			{"n": {"type": "integer"}}}');
	SELECT agno_arun('one', 'talker', 'talk', user_id => 'ann',
		session_state => '{"mood": "good"}');
	SELECT agno_arun('two', 'talker', 'talk');
	SELECT agno_arun('three', 'talker', 'talk', 'talk')));
wait_run($_)
  foreach qw(completed error incomplete reasoning early dict talk);
wait_until('runs to start', sub {
	run_status('running') eq 'RUNNING'
	  && run_status('cancelled') eq 'RUNNING';
});
$node->safe_psql('postgres', "SELECT agno_cancel_run('cancelled')");
wait_run('cancelled');

# A run with tools
$node->safe_psql('postgres', qq(
	CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-chat', base_url '$url');
	CREATE SERVER claude FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'anthropic', base_url '$url')));
$node->safe_psql('postgres', q(
	CREATE FUNCTION weather(city text) RETURNS text LANGUAGE sql STABLE
		AS 'SELECT ''sunny in '' || city';
	INSERT INTO agno.agents (agent_id, name, model, tools)
	VALUES ('caller', 'Caller', 'mock:tools', '{weather}')));
call_tools('tools', 'caller', [ [ [ weather => { city => 'Paris' } ], [ weather => { town => 'x' } ] ],
		[ ['nobody'] ] ], script => { say => ['Let me look. '], final => 'Sunny.' });
wait_run('tools');

# A paused run: nothing makes one yet, so the table is told.
$node->safe_psql('postgres', q(
	INSERT INTO agno.runs (run_id, session_id, status, input, content, model,
		model_provider, owner, priority, created_at, attempt, requirements,
		tools, messages)
	SELECT 'paused', session_id, 'PAUSED', 'Hello', 'I need confirmation.',
		model, model_provider, owner, 0, created_at + interval '1 us', 1,
		'[{"id": "q1", "created_at": "2026-01-01T00:00:00+00:00",
			"tool_execution": {"tool_call_id": "c1", "tool_name": "f",
				"tool_args": {}, "requires_confirmation": true,
				"stop_after_tool_call": false, "created_at": 1767225600}}]',
		NULL, messages
	FROM agno.runs WHERE run_id = 'reasoning'));

my $runs = $node->safe_psql('postgres', q(
	SELECT jsonb_object_agg(run_id, jsonb_build_object('run_id', run_id,
		'session_id', session_id, 'status', status))
	FROM agno.runs WHERE run_id !~ '-'));

foreach my $line (sort keys %python)
{
	my $host = $node->host;
	my $port = $node->port;
	my $result = IPC::Run::run(
		[
			$python{$line},
			"$FindBin::Bin/../interop/agno_reads.py",
			"postgresql+psycopg:///postgres?host=$host&port=$port",
			$url,
			$runs
		],
		'<', '/dev/null',
		'>', "$PostgreSQL::Test::Utils::tmp_check/agno-$line.out",
		'2>', "$PostgreSQL::Test::Utils::tmp_check/agno-$line.err");
	my $out = slurp_file("$PostgreSQL::Test::Utils::tmp_check/agno-$line.out");
	my $err = slurp_file("$PostgreSQL::Test::Utils::tmp_check/agno-$line.err");
	my $count = () = $out =~ /^ok /mg;

	ok($result, "Agno $line reads and sends the same")
	  or diag(join("\n", grep { !/^ok / } split(/\n/, $out)), "\n", $err);
	ok($count > 80, "Agno $line was compared in $count ways");
}

done_testing();
