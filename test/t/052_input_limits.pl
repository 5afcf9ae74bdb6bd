# What a caller hands in is bounded, and no work of the runner is more than
# linear in it: the schema with 40,000 properties, the template with thousands of
# variables over a state of thousands of members, and the large inputs that once
# stopped everybody else's runs for seconds, or took gigabytes.
# Alone: it measures how long others wait.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
make_user(qw(app));

# The most memory that the runner has had, in MB.
sub runner_memory
{
	return status_of(runner_pid(), 'VmHWM') / 1024;
}

# The longest of the calls that another client makes until the condition holds,
# in ms.
sub longest_call_until
{
	my ($condition) = @_;
	my $give_up = time + 60;
	my $longest = 0;

	while (time < $give_up)
	{
		my $out = $node->safe_psql('postgres', "\\timing on\n"
			  . "CALL agno_run('other', model => 'mock:echo') \\g /dev/null\n");
		my ($ms) = $out =~ /Time: ([\d.]+) ms/;
		$longest = $ms if $ms > $longest;
		last if value($condition) eq 't';
	}
	return $longest;
}

# Sizes
my %too_long = (
	input => "repeat('x', 8388609)",
	user_id => "repeat('x', 8388609)",
	model => "'mock:' || repeat('x', 8388609)",
	metadata => "jsonb_build_object('a', repeat('x', 8388609))",
	session_state => "jsonb_build_object('a', repeat('x', 8388609))",
	model_options => "jsonb_build_object('a', repeat('x', 8388609))",
	output_schema => "jsonb_build_object('title', repeat('x', 8388609))");
foreach my $argument (sort keys %too_long)
{
	my $input = $argument eq 'input' ? '' : "'x', ";
	is( outcome_as('app', "SELECT agno_arun($input$argument => $too_long{$argument})"),
		'53400', "$argument is bounded");
}
is( outcome_as('app', "SELECT agno_arun('x', metadata =>
		jsonb_build_object('a', (SELECT jsonb_agg(('1e' || 100000)::numeric)
			FROM generate_series(1, 100))))"),
	'53400', 'as it is as text: numbers may be longer than they look');
is( outcome_as('app', "INSERT INTO agno.agents (agent_id, description)
		VALUES ('long', repeat('x', 8388609))"),
	'53400', 'an agent is bounded');
is( outcome_as('app', "INSERT INTO agno.agents (agent_id, on_complete)
		VALUES ('long', repeat('x', 8388609))"),
	'53400', 'and its on_complete');
is( outcome_as('app', "SELECT agno_arun('x', metadata =>
		(repeat('{\"a\":', 600) || '1' || repeat('}', 600))::jsonb)"),
	'22023', 'depth is bounded');
is( outcome_as('app', "SELECT agno_arun('x', max_attempts => 2147483647)"),
	'22023', 'max_attempts is bounded by the setting');
is( outcome_as('postgres', "SELECT status FROM agno_arun('x', model => 'mock:echo',
		max_attempts => 1000)"),
	'PENDING', 'but for superusers');

$node->safe_psql('postgres', q{CREATE FUNCTION talkative() RETURNS void LANGUAGE sql AS '';
	DO $$ BEGIN EXECUTE format('COMMENT ON FUNCTION talkative IS %L', repeat('x', 8388609)); END $$});
is( outcome_as('postgres', "SELECT agno_describe_tool('talkative')"),
	'53400', 'a comment that describes a tool is bounded');
is( outcome_as('postgres', "CREATE USER MAPPING FOR app SERVER mock
		OPTIONS (api_key '" . 'k3y' x 1366 . "')"),
	'HV024', 'options of servers and of user mappings are bounded');

# Quadratic once: the strictness of a schema
$node->safe_psql(
	'postgres', q(
	SELECT agno_arun('schema', model => 'mock:echo', run_id => 'schema',
		output_schema => jsonb_build_object('type', 'object',
			'additionalProperties', false,
			'properties', (SELECT jsonb_object_agg('p' || i, '{}'::jsonb)
				FROM generate_series(1, 40000) i),
			'required', (SELECT jsonb_agg('p' || i)
				FROM generate_series(1, 40000) i)))));
my $longest = longest_call_until(
	"status IN ('COMPLETED', 'ERROR') FROM agno.runs WHERE run_id = 'schema'");
note("with 40,000 properties others wait $longest ms");
cmp_ok($longest, '<', 1500, 'a schema with 40,000 properties stops nobody');

# and the variables of a template
$node->safe_psql(
	'postgres', q(
	SELECT agno_arun(repeat('{z}', 8000), model => 'mock:echo',
		run_id => 'variables', session_state =>
			(SELECT jsonb_object_agg('m' || i, 'x') FROM generate_series(1, 8000) i)),
	agno_arun(repeat('x', 4000000) || '$', model => 'mock:echo',
		run_id => 'braces', session_state => '{"a": 1}')));
$longest = longest_call_until(
	"count(*) = 2 FROM agno.runs WHERE run_id IN ('variables', 'braces')
		AND status IN ('COMPLETED', 'ERROR')");
note("with 8,000 variables over 8,000 members others wait $longest ms");
cmp_ok($longest, '<', 1500, 'thousands of variables stop nobody');
is(value("string_agg(status::text, ' ') FROM agno.runs
		WHERE run_id IN ('variables', 'braces')"),
	'COMPLETED COMPLETED', 'and are resolved');
$node->safe_psql('postgres',
	q(SELECT agno_arun(repeat('{v}', 5000), model => 'mock:echo',
		run_id => 'explodes', session_state =>
			jsonb_build_object('v', repeat('x', 1000000)))));
is(wait_run('explodes'), 'ERROR', 'a template that explodes');
like(value("content FROM agno.runs WHERE run_id = 'explodes'"),
	qr/longer than agno_bg.max_input_size/, 'fails its own run');

# merged state
$node->safe_psql(
	'postgres', q(
	SELECT agno_arun('one', model => 'mock:echo', run_id => 'merge1',
		session_id => 'merge', session_state =>
		(SELECT jsonb_object_agg('m' || i, 1) FROM generate_series(1, 100000) i));
	SELECT agno_arun('two', model => 'mock:echo', run_id => 'merge2',
		session_id => 'merge', session_state =>
		(SELECT jsonb_object_agg('m' || i, 2) FROM generate_series(1, 100000) i))));
$longest = longest_call_until(
	"status IN ('COMPLETED', 'ERROR') FROM agno.runs WHERE run_id = 'merge2'");
note("with 100,000 members others wait $longest ms");
cmp_ok($longest, '<', 1500, 'states of 100,000 members are merged in no time');
is(value("session_state->>'m77' FROM agno.runs WHERE run_id = 'merge2'"),
	'2', 'and right');

# A schema with 200,000 words that mean nothing, looked at by 10,000 references
$node->safe_psql(
	'postgres', q(
	SELECT agno_arun('words', model => 'mock:misfit-1', run_id => 'words',
		output_schema => jsonb_build_object('type', 'object',
			'$defs', jsonb_build_object('words',
				(SELECT jsonb_object_agg('x' || i, 1)
					FROM generate_series(1, 200000) i)),
			'properties', jsonb_build_object('misfit', jsonb_build_object(
				'allOf', (SELECT jsonb_agg('{"$ref": "#/$defs/words"}'::jsonb)
					FROM generate_series(1, 10000))))))));
$longest = longest_call_until(
	"status IN ('COMPLETED', 'ERROR') FROM agno.runs WHERE run_id = 'words'");
note("with 200,000 words others wait $longest ms");
cmp_ok($longest, '<', 1500, 'a schema of 200,000 words stops nobody');
is(run_status('words'), 'COMPLETED', 'the answer to it is accepted');

# One of two million values, in flight
my $memory = runner_memory();
$node->safe_psql(
	'postgres', q(
	SELECT count(*) FROM generate_series(1, 4) i, agno_arun('held ' || i,
		model => 'mock:hang', run_id => 'held' || i, output_schema =>
			(SELECT jsonb_build_object('enum', jsonb_agg(''::text))
				FROM generate_series(1, 1900000)))));
$node->poll_query_until('postgres',
	"SELECT count(*) = 4 FROM agno.runs WHERE run_id ~ 'held'
		AND status = 'RUNNING'");
$node->safe_psql('postgres', "CALL agno_run('after', model => 'mock:echo')");
$memory = runner_memory() - $memory;
note("four schemas of two million values take $memory MB");
cmp_ok($memory, '<', 500, 'schemas of runs in flight are not kept in pieces');
$node->safe_psql('postgres',
	"SELECT agno_cancel_run('held' || i) FROM generate_series(1, 4) i");

# The state of a session, to which each run adds a part
foreach my $i (1 .. 3)
{
	$node->safe_psql('postgres',
		"SELECT agno_arun('x', model => 'mock:echo', session_id => 'grows',
			run_id => 'grows$i', session_state =>
				jsonb_build_object('k$i', repeat('x', 3500000)))");
	wait_run("grows$i");
}
is(value("string_agg(status::text, ' ' ORDER BY run_id) FROM agno.runs
		WHERE session_id = 'grows'"),
	'COMPLETED COMPLETED ERROR', 'a run that makes the state too long fails');
like(value("error->>'message' FROM agno.runs WHERE run_id = 'grows3'"),
	qr/session state.*agno_bg.max_input_size/, 'its error says why');
is(value("string_agg(k, ' ' ORDER BY k) FROM agno.sessions,
		jsonb_object_keys(session_state) k WHERE session_id = 'grows'"),
	'k1 k2', 'the session keeps the state that it had');
is( outcome_as('app', "SELECT agno_arun('x', model => 'mock:' || repeat('m', 32768))"),
	'22023', 'the name of a model is bounded');

# A turn reads no more than it can hold
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 60) i,
		agno_arun(repeat('x', 7000000 + i), model => 'mock:status-400')));
$longest = longest_call_until(
	"count(*) = 60 FROM agno.runs WHERE length(input) > 7000000
		AND status = 'ERROR'");
note("with 60 inputs of 7 MB others wait $longest ms; the runner took "
	  . runner_memory() . ' MB');
cmp_ok(runner_memory(), '<', 1500, 'large inputs are read a few at a time');

$node->stop;
done_testing();
