# Agents that call SQL functions, with each of the three APIs, streamed and not, and
# in OpenAI's background mode: what is sent, what is stored, what the model is told
# of what goes wrong, limits, history, the state of the session, and results that
# end a run.

use strict;
use warnings;
use FindBin;
use JSON::PP;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
make_user('app');
$node->safe_psql('postgres', qq(
	CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-chat', base_url '$url');
	CREATE SERVER claude FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'anthropic', base_url '$url');
	GRANT USAGE ON FOREIGN SERVER chat, claude TO app;
	CREATE SCHEMA shop AUTHORIZATION app));
as('app', q{
	CREATE TABLE shop.notes (id integer, note text, call text);
	CREATE FUNCTION shop.order_status(order_id integer, verbose boolean DEFAULT false) RETURNS text
		LANGUAGE sql STABLE AS $$ SELECT 'order ' || order_id || ' is on its way to '
			|| current_setting('agno_bg.user_id') || '/' || session_user || '/' || current_user $$;
	COMMENT ON FUNCTION shop.order_status IS 'Where an order is.
Args:
    order_id: the number on the invoice';
	CREATE FUNCTION shop.note(id integer, note text) RETURNS void LANGUAGE sql
		AS $$ INSERT INTO shop.notes VALUES (id, note, current_setting('agno_bg.tool_call_id')) $$;
	CREATE FUNCTION shop.fails() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO shop.notes VALUES (0, 'never');
		RAISE EXCEPTION 'no such thing' USING ERRCODE = 'P0042', DETAIL = 'a detail', HINT = 'a hint'; END $$;
	CREATE FUNCTION shop.big() RETURNS SETOF integer LANGUAGE sql AS $$ SELECT generate_series(1, 100000) $$;
	CREATE FUNCTION shop.visit() RETURNS text LANGUAGE sql AS $$
		SELECT agno_update_session_state(jsonb_build_object('visits',
			coalesce((agno_session_state() ->> 'visits')::int, 0) + 1))::text $$;
	INSERT INTO agno.agents (agent_id, model, tools)
		SELECT s || '_agent', s || ':tools', '{shop.note,shop.order_status,shop.fails,shop.big,shop.visit}'
		FROM unnest('{mock,chat,claude}'::text[]) s;
	INSERT INTO agno.tools (tool, function, stop_after_call, bind)
		VALUES ('last', 'shop.order_status', true, '{"order_id": "state.order"}');
	INSERT INTO agno.agents (agent_id, model, tools, tool_call_limit, tool_choice) VALUES
		('limited', 'mock:tools', '{shop.note}', 2, 'note'),
		('none', 'mock:tools', '{shop.note}', 0, NULL),
		('stops', 'mock:tools', '{last,shop.note}', NULL, NULL);
	INSERT INTO agno.agents (agent_id, model, tools, add_history_to_context) VALUES
		('remembers', 'mock:tools', '{shop.note,shop.order_status}', true);
	INSERT INTO agno.agents (agent_id, model, tools, add_history_to_context, max_tool_calls_from_history) VALUES
		('forgets', 'mock:tools', '{shop.note,shop.order_status}', true, 1);
	INSERT INTO agno.agents (agent_id, model, tools, output_schema) VALUES ('structured', 'mock:tools',
		'{shop.order_status}', '{"type": "object", "properties": {"answer": {"type": "string"}},
			"required": ["answer"], "additionalProperties": false}')});

# The bodies of the requests of a run: those whose first message of the user, or
# last, is its script.
sub bodies_of
{
	my ($id) = @_;
	my $script = value("input FROM agno.runs WHERE run_id = '$id'");
	return map { $_->{body} }
	  grep { grep { ref eq 'HASH' && ($_->{role} // '') eq 'user' && ($_->{content} // '') eq $script }
		  @{ $_->{body}{input} // $_->{body}{messages} } } mock_requests('mock');
}

my @calls = ([ [ 'shop' => '' ], [ order_status => { order_id => 42 } ] ],
	[ [ note => { id => 1, note => 'one' } ], [ note => { id => 'x', note => 'two' } ], [ note => '{"id":' ],
		[ note => '[1]' ], [ 'fails' ] ]);

#-------------------------------------------------------------------------
# The same run with each API
#-------------------------------------------------------------------------

foreach my $case ([ 'mock', 0 ], [ 'mock', 1 ], [ 'chat', 0 ], [ 'chat', 1 ], [ 'claude', 0 ], [ 'claude', 1 ],
	[ 'mock', 'background' ], [ 'mock', 'items' ])
{
	my ($server, $how) = @$case;
	my $id = "loop-$server-$how";
	my $streamed = $how eq '1' || $how eq 'items' ? 'true' : 'false';
	my @own = grep { $server ne 'claude' || $_->[1] !~ /^[\[{]/ || ref $_->[1] } @{ $calls[1] };
	my @more = $how eq 'background' ? (model => 'mock:tools-10', model_options => '{"background": true}')
	  : $how eq 'items' ? (model => 'mock:tools-1') : ();

	call_tools($id, "${server}_agent", [ $calls[0], \@own ], role => 'app', stream => $streamed,
		user_id => 'ann', script => { say => ['Let me look. '] }, @more);
	expect_run($id, {
			status => 'COMPLETED', error => undef, attempt => 1,
			content => qr/^Let me look\. Results: ok; invalid arguments/,
			"metrics ->> 'total_tokens'" => 18 * 2 + ($server eq 'claude' ? 18 : 18),
			'jsonb_array_length(tools)' => 4,
			'jsonb_array_length(messages)' => 6 + scalar(@own) + ($server eq 'claude' ? 1 : 0) },
		"$id: a run calls tools and ends")
	  or diag(value("content FROM agno.runs WHERE run_id = '$id'"));
	is( value("string_agg(concat_ws(' ', turn, call_no, tool, status, sqlstate, xid IS NOT NULL), ', '
			ORDER BY turn, call_no) FROM agno.tool_calls WHERE run_id = '$id' AND (turn = 1 OR call_no < 3)"),
		'1 1 shop refused f, 1 2 order_status completed t, 2 1 note completed t, 2 2 note error 22023 t',
		"$id: agno.tool_calls has each call");
	is( value("result FROM agno.tool_calls WHERE run_id = '$id' AND tool = 'order_status'"),
		'order 42 is on its way to ann/app/app', "$id: a tool is called as the owner, for the user");
	is( value("count(*) FROM shop.notes n JOIN agno.tool_calls c ON c.tool_call_id = n.call WHERE c.run_id = '$id'"),
		1, "$id: the effect of the call is there once, and leads to its record");
	is(value("error FROM agno.tool_calls WHERE run_id = '$id' AND tool = 'fails'"),
		"no such thing (SQLSTATE P0042)\nDetail: a detail\nHint: a hint",
		"$id: the error of a tool has all that helps");
	is( value("count(*) FROM agno.run_steps") . value("count(*) FROM agno.tool_queue") . value("count(*) FROM agno.run_signals"),
		'000', "$id: nothing is left over");
	next unless $streamed eq 'true';
	is( value("string_agg(event, ' ' ORDER BY seq) FROM agno_run_events('$id') WHERE event <> 'RunContent'"),
		'RunStarted ToolCallStarted ToolCallCompleted' . ' ToolCallStarted' x 3 . ' ToolCallCompleted' . ' ToolCallCompleted ToolCallError' x 2
		  . ' RunCompleted', "$id: subscribers hear of each call");
	is( value("string_agg(data ->> 'content', '' ORDER BY seq) = (SELECT content FROM agno.runs WHERE run_id = '$id')
		FROM agno_run_events('$id') WHERE event = 'RunContent'"), 't', "$id: the pieces are the answer");
}
is(value("count(*) FROM shop.notes WHERE note = 'never'"), 0, 'what a tool that fails has done is undone');

#-------------------------------------------------------------------------
# What is sent
#-------------------------------------------------------------------------

my ($first, $second, $third) = bodies_of('loop-mock-0');
is(join(' ', map { $_->{name} } @{ $first->{tools} }), 'big fails note order_status visit',
	'tools are sent in the order of their names');
is_deeply($first->{tools}[3], {
		type => 'function', name => 'order_status', description => 'Where an order is.', strict => JSON::PP::false,
		parameters => { type => 'object', additionalProperties => JSON::PP::false, required => ['order_id'],
			properties => { order_id => { type => 'integer', minimum => -2147483648, maximum => 2147483647,
					description => 'the number on the invoice' }, verbose => { type => 'boolean' } } } },
	'a tool is described from the catalog');
ok(!exists $first->{tool_choice}, 'no tool is chosen unless it is asked for');
is_deeply([ map { $_->{type} // $_->{role} } @{ $second->{input} } ],
	[ 'user', 'reasoning', 'message', 'function_call', 'function_call', 'function_call_output', 'function_call_output' ],
	'what the model has said is sent back with the results');
is($second->{input}[1]{encrypted_content}, 'ENC0', 'reasoning is sent back as it came');
is($second->{input}[2]{content}[0]{text}, 'Let me look. ', 'text beside calls is sent back');
is($second->{input}[5]{output}, 'Error: The requested tool does not exist or is not available.',
	'results are in the order of the calls, whatever fails');
is_deeply([ map { $_->{output} } @{ $third->{input} }[ -3 .. -2 ] ],
	[ "Error while decoding function arguments: they are not valid JSON\n\nPlease make sure we can json.loads() the arguments and retry.",
		"Function arguments are not a valid JSON object.\n\n Please fix and retry." ],
	'the model is told of arguments that are no JSON object');
($first, $second) = bodies_of('loop-chat-1');
is_deeply($first->{tools}[3]{function}{name}, 'order_status', 'Chat: tools are functions');
is_deeply([ map { $_->{role} } @{ $second->{messages} } ], [ 'user', 'assistant', 'tool', 'tool' ],
	'Chat: calls and results are messages');
is_deeply($second->{messages}[1]{tool_calls}[1], { id => 'call_1_2', type => 'function',
		function => { name => 'order_status', arguments => '{"order_id": 42}' } }, 'Chat: calls are put together from their pieces');
is($second->{messages}[3]{tool_call_id}, 'call_1_2', 'Chat: a result names its call');
($first, $second) = bodies_of('loop-claude-1');
is($first->{tools}[3]{input_schema}{required}[0], 'order_id', 'Anthropic: tools have an input_schema');
is_deeply([ map { $_->{type} } @{ $second->{messages}[1]{content} } ], [ 'thinking', 'text', 'tool_use', 'tool_use' ],
	'Anthropic: blocks are put together from their pieces');
is($second->{messages}[1]{content}[0]{signature}, 'sig0', 'Anthropic: thinking is sent back with its signature');
is_deeply([ map { [ $_->{tool_use_id}, $_->{is_error} ? 1 : 0 ] } @{ $second->{messages}[2]{content} } ],
	[ [ 'toolu_1_1', 1 ], [ 'toolu_1_2', 0 ] ], 'Anthropic: all results are one message');
is($first->{system}, 'Do not reflect on the quality of the returned search results in your response',
	'Anthropic: the system message says what Agno adds to it');
is(value("messages #>> '{0,content}' FROM agno.runs WHERE run_id = 'loop-claude-1'"), $first->{system}, 'and is stored');
is(value("messages #>> '{0,role}' FROM agno.runs WHERE run_id = 'loop-chat-1'"), 'user', 'others are not told that');
is( value("string_agg(DISTINCT run_id, ' ' ORDER BY run_id) FROM agno.runs
		WHERE run_id ~ 'loop' AND jsonb_path_exists(messages, '\$[*].tool_calls[*].call_id')"),
	'loop-mock-0 loop-mock-1 loop-mock-background loop-mock-items', 'only calls of the Responses API have an id of their own');
is( value("string_agg(data #>> '{tool,tool_name}', ' ' ORDER BY seq) FROM agno_run_events('loop-mock-1') WHERE event = 'ToolCallStarted'
		AND data #> '{tool,result}' = 'null' AND data #> '{tool,tool_call_error}' = 'null' AND data #> '{tool,metrics}' = 'null'"),
	'order_status note note fails', 'of a call that begins, nothing is known but what it is');
like( value("data ->> 'content' FROM agno_run_events('loop-mock-1') WHERE event = 'ToolCallCompleted' ORDER BY seq LIMIT 1"),
	qr/^order_status\(order_id=42\) completed in \d\.\d{4}s\. $/, 'a call that is done is told in the words of Agno');
is(value("reasoning_content FROM agno.runs WHERE run_id = 'loop-claude-0'"), 'Hm.', 'the last reasoning is kept');
my ($items) = (bodies_of('loop-mock-items'))[1];
is($items->{input}[1]{encrypted_content}, 'ENC0', 'items of a stream whose end has none are kept');

#-------------------------------------------------------------------------
# Limits, choices, results
#-------------------------------------------------------------------------

my @notes = map { [ note => { id => $_, note => 'n' } ] } 1 .. 3;
call_tools('limit', 'limited', [ \@notes, [ $notes[0] ] ], role => 'app');
expect_run('limit', { status => 'COMPLETED',
		content => "Results: ok; ok; Tool call limit reached. Tool call note not executed. Don't try to execute it again." },
	'calls beyond the limit are refused, and the run ends');
my @requests = bodies_of('limit');
is_deeply($requests[0]{tool_choice}, { type => 'function', name => 'note' }, 'the tool that is chosen is named');
ok(!exists $requests[1]{tools} && !exists $requests[1]{tool_choice}, 'the request after the limit has no tools');
call_tools('once', 'limited', [ [ $notes[0] ], [ $notes[1] ] ], role => 'app');
wait_run('once');
ok(!exists +(bodies_of('once'))[1]{tool_choice}, 'who is forced to call a tool is forced once');
call_tools('zero', 'none', [ [ $notes[0] ] ], role => 'app');
expect_run('zero', { status => 'COMPLETED', tools => undef, content => qr/limit reached/ }, 'a limit of 0 refuses all calls');
call_tools('stop', 'stops', [ [ [ 'last' ], $notes[0] ], [ $notes[1] ] ], role => 'app', user_id => 'ann',
	session_state => '{"order": 7}', script => { say => ['Here: '] });
expect_run('stop', { status => 'COMPLETED', content => 'Here: order 7 is on its way to ann/app/app' },
	'a result ends the run, with an argument from the state of the session');
is(scalar(bodies_of('stop')), 1, 'and the model is asked no more');
ok(!exists +(bodies_of('stop'))[0]{tools}[0]{parameters}{properties}{order_id}, 'the model does not see an argument that is bound');
call_tools('big', 'mock_agent', [ [ ['big'] ] ], role => 'app');
expect_run('big', { status => 'COMPLETED', content => qr/\d+\]\n\(\d+ more rows are not shown\)$/ },
	'the model is shown whole rows of a long result, and how many are left out');
is(value("length(result) > 500000 FROM agno.tool_calls WHERE run_id = 'big'"), 't', 'SQL sees all of it');
call_tools('schema', 'structured', [ [ [ order_status => { order_id => 1, verbose => undef } ] ] ], role => 'app',
	user_id => 'ann', script => { say => ['Hm. '], final => '{"answer": "x"}' });
expect_run('schema', { status => 'COMPLETED', content => '{"answer": "x"}', content_type => 'dict' },
	'a structured answer comes after tools, without the text before');
my ($strict) = (bodies_of('schema'))[0]{tools};
ok($strict->[0]{strict}, 'tools are strict then');
is_deeply($strict->[0]{parameters}{properties}{verbose}{type}, [ 'boolean', 'null' ], 'and what may be left out may be null');
as('app', q{INSERT INTO agno.agents (agent_id, model, tools, output_schema)
	SELECT 'structured_claude', 'claude:tools', tools, output_schema FROM agno.agents WHERE agent_id = 'structured'});
call_tools('schema-claude', 'structured_claude', [ [ [ order_status => { order_id => 1, verbose => undef } ] ] ], role => 'app',
	user_id => 'ann', script => { final => '{"answer": "x"}' });
expect_run('schema-claude', { status => 'COMPLETED', content => '{"answer": "x"}' }, 'and so it is with Anthropic');
my ($claude) = (bodies_of('schema-claude'))[0]{tools}[0];
ok($claude->{strict}, 'Anthropic: tools are strict');
is_deeply($claude->{input_schema}{properties}{order_id}, { type => 'integer', description => 'the number on the invoice' },
	'Anthropic: without the bounds that it does not take');
is_deeply([ map { $_->{headers}{'anthropic-beta'} } grep { $_->{path} =~ /messages/ && $_->{body}{tools}[0]{strict} } mock_requests('mock') ],
	[ ('structured-outputs-2025-11-13') x 2 ], 'Anthropic: strict tools have a header');
is(scalar(grep { exists $_->{headers}{'anthropic-beta'} } mock_requests('mock')), 2, 'and others have not');
is(value("concat_ws(' ', status, error, result) FROM agno.tool_calls WHERE run_id = 'schema'"),
	'completed order 1 is on its way to ann/app/app', 'null for an argument with a default means left out');
as('app', q{CREATE FUNCTION shop.free(what jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT what';
	INSERT INTO agno.agents (agent_id, model, tools, output_schema)
		SELECT 'structured_json', model, '{shop.free}', output_schema FROM agno.agents WHERE agent_id = 'structured'});
call_tools('json', 'structured_json', [ [ [ free => { what => 1 } ] ] ], role => 'app', script => { final => '{"answer": "x"}' });
wait_run('json');
ok(!(bodies_of('json'))[0]{tools}[0]{strict}, 'a tool that takes anything is not strict');

# The state of the session
call_tools('visit1', 'mock_agent', [ [ ['visit'] ], [ ['visit'] ] ], role => 'app', session_id => 'v');
expect_run('visit1', { status => 'COMPLETED', content => 'Results: {"visits": 2}', session_state => '{"visits": 2}' },
	'tools change the state of the session, and the next sees it');
call_tools('visit2', 'mock_agent', [ [ ['visit'] ] ], role => 'app', session_id => 'v');
expect_run('visit2', { status => 'COMPLETED', content => 'Results: {"visits": 3}' }, 'and so does the next run');
is(outcome_as('app', 'SELECT agno_session_state()'), '55000', 'there is no state outside of a tool');
is(outcome_as('app', q(SELECT agno_update_session_state('{}'))), '55000', 'nor any to be changed');

#-------------------------------------------------------------------------
# History
#-------------------------------------------------------------------------

foreach my $agent ('remembers', 'forgets')
{
	call_tools("$agent-1", $agent, [ [ [ order_status => { order_id => 1 } ], [ order_status => { order_id => 2 } ] ] ],
		role => 'app', user_id => 'ann', session_id => $agent, script => { say => ['Two. '] });
	wait_run("$agent-1");
	call_tools("$agent-2", $agent, [], role => 'app', user_id => 'ann', session_id => $agent, script => { final => 'x' });
	wait_run("$agent-2");
}
is_deeply([ map { $_->{type} // $_->{role} } @{ (bodies_of('remembers-2'))[0]{input} } ],
	[ 'user', 'reasoning', 'message', 'function_call', 'function_call', 'function_call_output',
		'function_call_output', 'assistant', 'user' ], 'earlier exchanges are sent along as they were');
is_deeply([ map { $_->{type} // $_->{role} } @{ (bodies_of('forgets-2'))[0]{input} } ],
	[ 'user', 'assistant', 'function_call', 'function_call_output', 'assistant', 'user' ],
	'with max_tool_calls_from_history, no more calls than that, and each with its result');

# An agent without tools in such a session: Anthropic refuses calls without tools.
as('app', q{INSERT INTO agno.agents (agent_id, model, tools, add_history_to_context)
	SELECT s || w, s || ':tools', CASE WHEN w = '_caller' THEN '{shop.note}'::text[] END, true
	FROM unnest('{claude,chat}'::text[]) s, unnest('{_caller,_talker}'::text[]) w});
foreach my $server ('claude', 'chat')
{
	call_tools("$server-calls", "${server}_caller", [ [ [ note => { id => 9, note => 'x' } ] ] ], role => 'app',
		session_id => "$server-mixed", script => { say => ['One. '], final => 'Two.' });
	wait_run("$server-calls");
	call_tools("$server-talks", "${server}_talker", [], role => 'app', session_id => "$server-mixed", script => { final => 'x' });
	expect_run("$server-talks", { status => 'COMPLETED' }, "$server: an agent without tools goes on with a session that has calls");
}
is_deeply([ map { $_->{content} } @{ (bodies_of('claude-talks'))[0]{messages} }[ 1, 2 ] ], [ 'One. ', 'Two.' ],
	'Anthropic: it is told the text without the calls');
is_deeply([ map { $_->{role} } @{ (bodies_of('chat-talks'))[0]{messages} } ], [qw(user assistant tool assistant user)],
	'Chat: and the calls as well');

#-------------------------------------------------------------------------
# A function that is gone, and one that has changed
#-------------------------------------------------------------------------

$node->safe_psql('postgres', q{ALTER SYSTEM SET agno_bg.paused = on; SELECT pg_reload_conf()});
call_tools('gone', 'mock_agent', [ [ [ order_status => { order_id => 1 } ], [ note => { id => 5, note => 'new' } ] ] ], role => 'app');
as('app', q{DROP FUNCTION shop.order_status CASCADE;
	CREATE FUNCTION shop.order_status(order_id bigint) RETURNS text LANGUAGE sql AS $$ SELECT 'other' $$;
	CREATE OR REPLACE FUNCTION shop.note(id integer, note text) RETURNS void LANGUAGE sql
		AS $$ INSERT INTO shop.notes VALUES (id, 'changed') $$});
$node->safe_psql('postgres', q{ALTER SYSTEM RESET agno_bg.paused; SELECT pg_reload_conf()});
expect_run('gone', { status => 'COMPLETED',
		content => "Results: function shop.order_status(integer,boolean) does not exist any more (SQLSTATE 42883)\n"
			. "Detail: It is one of the tools of agent \"mock_agent\".\nHint: Create it again, or UPDATE the tools of the agent.; ok" },
	'a function with another signature is not called in the place of one that is gone');
is(value("note FROM shop.notes WHERE id = 5"), 'changed', 'one that was replaced is called as it is now');
is(outcome_as('app', q{SELECT agno_arun('x', 'mock_agent')}), '42883', 'an agent whose tool is gone cannot be asked');

# Between two calls of one process, the types of the arguments are dropped and made anew.
as('app', q{
	CREATE PROCEDURE shop.remake() LANGUAGE plpgsql AS $$ BEGIN
		DROP TYPE IF EXISTS shop.size, shop.colour, shop.weight CASCADE;
		CREATE TYPE shop.size AS (x integer, y integer);
		CREATE TYPE shop.colour AS ENUM ('red', 'blue');
		CREATE DOMAIN shop.weight AS integer CHECK (VALUE > 0);
		CREATE FUNCTION shop.pack(size shop.size, colour shop.colour, weights shop.weight[]) RETURNS text
			LANGUAGE sql AS 'SELECT concat_ws('' '', size, colour, weights)'; END $$;
	SET client_min_messages = error;
	CALL shop.remake();
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('packs', 'mock:tools', '{shop.pack,shop.remake}')});
my $pack = [ pack => { size => { x => 1, y => 2 }, colour => 'blue', weights => [ 3, 4 ] } ];
call_tools('types', 'packs', [ [ $pack, ['remake'], $pack ] ], role => 'app');
expect_run('types', { status => 'COMPLETED', content => 'Results: (1,2) blue {3,4}; ok; (1,2) blue {3,4}' },
	'types that were made anew are those of the arguments');

# What a superuser's run may call
is(outcome(q{SELECT agno_arun('x', 'stops')}), '42501', "a superuser's run refuses an agent of somebody else with tools");
$node->safe_psql('postgres', q{INSERT INTO agno.agents (agent_id, tools) VALUES ('mine', '{shop.note}')});
is(outcome(q{SELECT agno_arun('x', 'mine')}), '42501', "and somebody else's function");
is(outcome_as('app', q{SELECT agno_arun('x', 'limited', model_options => '{"tools": []}')}), '22023',
	'model_options has no tools beside those of the agent');

done_testing();
