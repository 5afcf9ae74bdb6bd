# What a model is told: the agent's definition as it was when the run was
# enqueued, the history by Agno's rules, and the state of the session, which
# is written back with the result.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

# Enqueue and wait; returns the run's id.
sub ask
{
	my ($input, $arguments) = @_;
	my $id = $node->safe_psql('postgres',
		"SELECT run_id FROM agno_arun(\$ask\$$input\$ask\$, $arguments)");
	wait_run($id);
	return $id;
}

# The messages of the last request, as role and content.
sub last_request
{
	my @requests = mock_requests('mock');
	return [ map { [ $_->{role}, $_->{content} ] }
		  @{ $requests[-1]->{body}{input} } ];
}

# An agent, and a change of it after the run was enqueued.
$node->safe_psql('postgres', q{
	INSERT INTO agno.agents (agent_id, name, model, description, role,
		instructions, markdown, add_name_to_context, expected_output,
		additional_context, model_options, retries)
	VALUES ('poet', 'Poet', 'mock:echo', 'A poet of {genre}.', 'writer',
		'{Rhyme.,"Be {mood}."}', true, true, 'A {form}', 'Now.',
		'{"temperature": 0.50}', 0);
	SELECT agno_arun('About {genre}', 'poet', 's', 'r1',
		session_state => '{"genre": "love", "mood": "brief"}',
		run_at => now() + interval '1 s');
	UPDATE agno.agents SET description = 'Changed.', model = 'mock:status-500';
	DELETE FROM agno.agents});
is(wait_run('r1'), 'COMPLETED', 'the agent is gone, the run is not');
is_deeply(
	last_request(),
	[
		[
			'developer',
			"A poet of love.\n\n<your_role>\nwriter\n</your_role>\n\n"
			  . "- Rhyme.\n- Be brief.\n<additional_information>\n"
			  . "- Use markdown to format your answers.\n- Your name is: Poet.\n"
			  . "</additional_information>\n\n<expected_output>\nA {form}\n"
			  . "</expected_output>\n\nNow."
		],
		[ 'user', 'About love' ]
	],
	'the prompt is of the moment of agno_arun');
is(value("input FROM agno.runs WHERE run_id = 'r1'"),
	'About {genre}', 'the input is kept as it was given');
is(value(  "string_agg(m->>'role', ' ') FROM agno.runs, "
		  . "jsonb_array_elements(messages) m WHERE run_id = 'r1'"),
	'system user assistant', 'messages have the role system, as in Agno');

# The time of the day, of a time zone.
$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, model, add_datetime_to_context,
		timezone_identifier)
	VALUES ('utc', 'mock:echo', true, 'Asia/Kolkata'),
		('local', 'mock:echo', true, NULL)));
ask('When?', "'utc'");
like(
	last_request()->[0][1],
	qr/^<additional_information>\n- The current time is \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?\+05:30\.\n/,
	'the prompt has the time in the zone of the agent');
ask('When?', "'local'");
like(
	last_request()->[0][1],
	qr/^<additional_information>\n- The current time is \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?\.\n/,
	'the prompt has the time of the server');

# Without an agent nothing is replaced, unless there is a state.
ask('{a} costs $$5', "model => 'mock:echo', metadata => '{\"a\": 1}'");
is_deeply(last_request(), [ [ 'user', '{a} costs $$5' ] ],
	'an input without agent and state is sent as it is');
ask('{a} and {b}',
	"model => 'mock:echo', session_state => '{\"a\": [1, \"x\"]}'");
is_deeply(last_request(), [ [ 'user', "[1, 'x'] and {b}" ] ],
	'an input with a state is resolved without an agent, too');

# History: the last runs that are COMPLETED, without their system messages and
# their own history.
$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, model, description,
		add_history_to_context, num_history_runs)
	VALUES ('two', 'mock:echo', 'D', true, 2);
	INSERT INTO agno.agents (agent_id, model, add_history_to_context,
		num_history_messages)
	VALUES ('three', 'mock:echo', true, 3)));
ask('one', "'two', 'h'");
ask('two', "'two', 'h'");
ask('bad', "'two', 'h', model => 'mock:status-400'");
$node->safe_psql('postgres', q(
	SELECT agno_arun('gone', 'two', 'h', 'gone', model => 'mock:hang')));
wait_until('the run to start',
	sub { run_status('gone') eq 'RUNNING' });
$node->safe_psql('postgres', "SELECT agno_cancel_run('gone')");
wait_run('gone');
ask('three', "'two', 'h'");
is_deeply(
	last_request(),
	[
		[ 'developer', 'D' ],
		[ 'user', 'one' ], [ 'assistant', 'You said: one' ],
		[ 'user', 'two' ], [ 'assistant', 'You said: two' ],
		[ 'user', 'three' ]
	],
	'history has no runs that failed or were cancelled');
my $four = ask('four', "'two', 'h'");
is_deeply(
	last_request(),
	[
		[ 'developer', 'D' ],
		[ 'user', 'two' ], [ 'assistant', 'You said: two' ],
		[ 'user', 'three' ], [ 'assistant', 'You said: three' ],
		[ 'user', 'four' ]
	],
	'history has the last two runs only');
is(value(  "string_agg(m->>'from_history', ' ') FROM agno.runs, "
		  . "jsonb_array_elements(messages) m WHERE run_id = '$four'"),
	'false true true true true false false',
	'stored messages say which are of history');
is(value(  "string_agg(m->>'content', ' ') FROM "
		  . "jsonb_array_elements(agno_run_output_dict('$four')->'messages') m"),
	'D four You said: four', 'the run shown to Agno has only its new messages');
ask('five', "'three', 'h'");
is_deeply(
	last_request(),
	[
		[ 'assistant', 'You said: three' ],
		[ 'user', 'four' ], [ 'assistant', 'You said: four' ],
		[ 'user', 'five' ]
	],
	'history has the last three messages only');
ask('alone', "'two'");
is_deeply(last_request(), [ [ 'developer', 'D' ], [ 'user', 'alone' ] ],
	'another session has no history');

# The state of a session: what the agent begins with, what runs bring along.
$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, model, session_state,
		add_session_state_to_context)
	VALUES ('state', 'mock:echo', '{"n": {"a": 1, "b": null}, "s": "it''s"}',
		true)));
my $run = ask('x', "'state', 'st', user_id => 'ann'");
is( last_request()->[0][1],
	"<session_state>\n{'n': {'a': 1, 'b': None}, 's': \"it's\", "
	  . "'current_user_id': 'ann', 'current_session_id': 'st', "
	  . "'current_run_id': '$run'}\n</session_state>",
	'the prompt has the state of the session');
ask('x', q('state', 'st', session_state => '{"n": {"b": 2}, "t": [1]}'));
is(value("session_state FROM agno.sessions WHERE session_id = 'st'"),
	q({"n": {"a": 1, "b": 2}, "s": "it's", "t": [1]}),
	'the state of the session is merged at all levels');
ask('x', q('state', 'st', session_state => '{"t": 2}',
	model => 'mock:status-400'));
is(value("session_state FROM agno.sessions WHERE session_id = 'st'"),
	q({"n": {"a": 1, "b": 2}, "s": "it's", "t": 2}),
	'a run that fails merges its state as well, as in Agno');
is(value(  "string_agg((session_state->'t')::text, ' ' ORDER BY created_at) "
		  . "FROM agno.runs WHERE session_id = 'st' AND status <> 'ERROR'"),
	'[1]', 'each run shows the state that it left');
$node->safe_psql('postgres', q(
	SELECT agno_cancel_run('early');
	SELECT agno_arun('x', 'state', 'st', 'early', session_state => '{"t": 3}')));
wait_run('early');
is(value("session_state->'t' FROM agno.sessions WHERE session_id = 'st'"),
	'2', 'a run that never started leaves no state');

# The tokens of a session, by model.
is(value(  "session_metrics - 'details' FROM agno.sessions "
		  . "WHERE session_id = 'h'"),
	'{"input_tokens": 55, "total_tokens": 90, "output_tokens": 35, '
	  . '"reasoning_tokens": 15, "cache_read_tokens": 10}',
	'five answers of the session are counted');
is(value(  "session_metrics #> '{details,model}' @> "
		  . "'[{\"id\": \"echo\", \"provider\": \"mock\", "
		  . "\"total_tokens\": 90}]' FROM agno.sessions "
		  . "WHERE session_id = 'h'"),
	't', 'the metrics of a session name the model');

# An agent's timeout and retries.
$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, model, retries)
	VALUES ('once', 'mock:flaky-1-500', 0);
	INSERT INTO agno.agents (agent_id, model, timeout)
	VALUES ('hasty', 'mock:hang', '300 ms')));
$run = ask('once', "'once'");
is(run_status($run), 'ERROR',
	'an agent with no retries has its runs tried once');
$run = ask('hasty', "'hasty'");
is(value("error->>'type' FROM agno.runs WHERE run_id = '$run'"),
	'timeout', 'a run has the timeout of its agent');

# The id of an agent whose owner has been dropped.
make_user('gone', 'heir');
as('gone', q(INSERT INTO agno.agents (agent_id) VALUES ('left')));
my $left = q(INSERT INTO agno.agents (agent_id) VALUES ('left'));
sub refused { return ($node->psql('postgres', $left, extra_params => [ '-U', 'heir' ]))[2]; }
like(refused(), qr/in use by another role/, 'the id of an agent is in use');
$node->safe_psql('postgres', 'DROP OWNED BY gone; DROP ROLE gone');
like(refused(), qr/in use by a role that has been dropped.*superuser/s, 'whose owner has been dropped, too: there is a way out');
$node->safe_psql('postgres', q(UPDATE agno.agents SET owner = 'heir' WHERE agent_id = 'left'));
is(value(q(owner FROM agno.agents WHERE agent_id = 'left')), 'heir', 'which works');

done_testing();
