# People decide: calls that wait for confirmation, user input or a result from elsewhere
# make the run PAUSED, once the others of the answer are done. Decisions are made one by
# one, by those who may, each once; what is no decision is refused; the model is told
# what Agno tells it. Several pauses in one run, and what becomes of the session.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app', 'boss', 'other');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app; CREATE ROLE managers; GRANT managers TO boss');
as('app', q{
	CREATE TABLE app.done (what text, xid xid8 DEFAULT pg_current_xact_id());
	CREATE FUNCTION app.note(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO app.done VALUES (what); RETURN 'noted ' || what; END $$;
	CREATE FUNCTION app.mail(subject text, recipient text, copies integer DEFAULT 0) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO app.done VALUES (format('%s to %s', subject, recipient)); RETURN format('%s to %s (%s)', subject, recipient, copies); END $$;
	COMMENT ON FUNCTION app.mail IS $$Send a mail.
Args:
    subject: what it is about
    recipient: whom it is for$$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('careful', 'app.note', true);
	INSERT INTO agno.tools (tool, function, requires_user_input) VALUES ('mail', 'app.mail', '{recipient,copies}');
	INSERT INTO agno.tools (tool, description, parameters, external_execution)
		VALUES ('shell', 'Run a command.', '{"type": "object", "properties": {"command": {"type": "string"}}}', true);
	INSERT INTO agno.tools (tool, function, requires_confirmation, approver) VALUES ('guarded', 'app.note', true, 'managers');
	INSERT INTO agno.tools (tool, function, requires_confirmation, expires_after) VALUES ('brief', 'app.note', true, '1 s');
	INSERT INTO agno.tools (tool, function, requires_confirmation, stop_after_call) VALUES ('last', 'app.note', true, true);
	INSERT INTO agno.agents (agent_id, model, tools, requires_confirmation) VALUES
		('a', 'mock:tools', '{app.note,careful,mail,shell,guarded,brief,last}', NULL),
		('b', 'mock:tools', '{app.note}', '{app.note}');});

sub start { my ($id, $calls, %more) = @_; call_tools($id, $more{agent} // 'a', $calls, role => 'app', %{ $more{arguments} // {} },
		script => $more{script} // {}); return wait_run($id); }
sub done { return value("string_agg(what, ',' ORDER BY what) FROM app.done"); }
sub forget { as('app', 'TRUNCATE app.done'); }
# The last request of a run to the model: what the model was told of its calls.
sub told
{
	my ($id) = @_;
	my @requests = grep { ($_->{body}{input}[0]{content} // '') =~ /"id":"$id"/ } mock_requests('mock');
	return join ' | ', map { $_->{output} } grep { ($_->{type} // '') eq 'function_call_output' } @{ $requests[-1]{body}{input} };
}
sub call_id { return value("tool_call_id FROM agno.tool_calls WHERE run_id = '$_[0]' AND tool = '$_[1]'" . ($_[2] // '')); }
sub json { return decode_json(value("$_[1] FROM agno.runs WHERE run_id = '$_[0]'")); }
sub fails { my ($role, $sql, $state, $name) = @_; is(outcome_as($role, $sql), $state, $name); }

#-------------------------------------------------------------------------
# A pause
#-------------------------------------------------------------------------

is(start('one', [ [ [ careful => { what => 'x' } ], [ note => { what => 'y' } ], [ nobody => {} ] ] ], script => { say => ['I will.'] }), 'PAUSED', 'a run waits for a confirmation');
is(done(), 'y', 'what does not wait is executed before');
expect_run('one', { content => 'I will.', 'jsonb_array_length(requirements)' => 1, 'finished_at' => undef }, 'it says what the model has said');
my $requirement = json('one', 'requirements')->[0];
is_deeply([ @{ $requirement->{tool_execution} }{qw(tool_name tool_args requires_confirmation confirmed result)} ],
	[ 'careful', { what => 'x' }, JSON::PP::true, undef, undef ], 'the requirement is that of Agno');
is_deeply([ map { [ $_->{tool_name}, $_->{result} ] } @{ json('one', 'tools') } ], [ [ 'note', 'noted y' ], [ 'careful', undef ] ],
	'tools has what was executed, and what waits without a result');
is(value(q(status FROM agno.tool_calls WHERE run_id = 'one' AND tool = 'careful')), 'paused', 'the record of the call says so');
is(value(q(in_flight FROM agno.workers WHERE kind = 'runner' AND database = 'postgres')), 0, 'it holds no slot');
is(value(q(kind || ' ' || tool || ' ' || arguments FROM agno.approvals), 'postgres'), 'confirmation careful {"what": "x"}', 'agno.approvals shows it');
is(as('other', 'SELECT count(*) FROM agno.approvals'), 0, 'but to no other role');
is(value(q(status || ' ' || runs FROM agno.stats)), 'PAUSED 1', 'agno.stats counts it');

call_tools('behind', 'a', [ [ [ note => { what => 'z' } ] ] ], role => 'app', session_id => value(q(session_id FROM agno.runs WHERE run_id = 'one')));
fails('other', q(SELECT agno_approve_call('one')), '42704', 'to another role, the run does not exist');
fails('app', q(SELECT agno_approve_call('none')), '42704', 'nor does one that does not exist');
fails('app', q(SELECT agno_approve_call('one', 'call-9')), '42704', 'there is no such call');
fails('app', q{SELECT agno_answer_call('one', '} . call_id('one', 'careful') . q{', '"yes"')}, '55000', 'confirmation is no answer');
fails('app', q(SELECT agno_approve_call(NULL)), '22004', 'of no run');
fails('app', q(BEGIN; SELECT agno_approve_call('one'); ROLLBACK; SELECT 1/0), '22012', 'a decision that is rolled back');
is(run_status('one'), 'PAUSED', 'is none');
is(run_status('behind'), 'PENDING', 'the next run of its session waits');
is(as('app', q{SELECT status FROM agno_approve_call('one', '} . call_id('one', 'careful') . q{', 'go on')}), 'PENDING', 'the approval');
expect_run('one', { status => 'COMPLETED', attempt => 1 }, 'lets it go on, in its attempt');
is(told('one'), 'noted x | noted y | Error: The requested tool does not exist or is not available.', 'the model is told the results in the order of the calls');
like(done(), qr/^x,y/, 'the call is made');
expect_run('behind', { status => 'COMPLETED' }, 'then the session goes on');
is_deeply([ @{ json('one', 'requirements')->[0]{tool_execution} }{qw(requires_confirmation confirmed confirmation_note result)} ],
	[ JSON::PP::false, JSON::PP::true, 'go on', 'noted x' ], 'what was decided is kept, as Agno does');
is(value(q(decision || ' ' || note || ' ' || decided_by FROM agno.requirements WHERE run_id = 'one')), 'approved go on app', 'and by whom');
is(value(q((r.xid = c.xid) FROM app.done r, agno.tool_calls c WHERE what = 'x' AND c.run_id = 'one' AND tool = 'careful')), 't', 'effect and record are one transaction');
fails('app', q(SELECT agno_approve_call('one')), '55000', 'there is nothing left to be decided');
is(value(q((metrics ->> 'total_tokens')::int FROM agno.runs WHERE run_id = 'one')), 2 * value(q((metrics ->> 'total_tokens')::int / 2 FROM agno.runs WHERE run_id = 'behind')),
	'tokens are summed over the pause');
forget();

# The list of the agent.
start('list', [ [ [ note => { what => 'l' } ] ] ], agent => 'b');
expect_run('list', { status => 'PAUSED', content => 'I have tools to execute, but I need confirmation.' }, 'requires_confirmation of an agent');
as('app', q(SELECT agno_reject_call('list')));
expect_run('list', { status => 'COMPLETED' }, 'it goes on after a rejection');
is(told('list'), 'Function call was rejected by the user', 'of which the model is told in the words of Agno');
is_deeply([ @{ json('list', 'tools')->[0] }{qw(result tool_call_error confirmed confirmation_note requires_confirmation)} ],
	[ undef, JSON::PP::true, JSON::PP::false, 'Tool call was rejected', JSON::PP::false ], 'as is kept');
is(value(q(status || ' ' || error FROM agno.tool_calls WHERE run_id = 'list')), 'rejected Function call was rejected by the user', 'and recorded');

# Some now, some later.
start('some', [ [ map { [ careful => { what => "$_" } ] } 1 .. 3 ] ]);
is(as('app', q{SELECT status FROM agno_approve_call('some', '} . call_id('some', 'careful', q( AND call_no = 1)) . q{')}), 'PAUSED', 'one of three is approved');
is(as('app', q{SELECT status FROM agno_reject_call('some', '} . call_id('some', 'careful', q( AND call_no = 2)) . q{', 'not that one')}), 'PAUSED', 'another is rejected');
is(done(), '', 'nothing is executed until all is decided');
fails('app', q{SELECT agno_approve_call('some', '} . call_id('some', 'careful', q( AND call_no = 2)) . q{')}, '55000', 'a decision is made once');
is_deeply([ map { $_->{confirmation} } @{ json('some', 'requirements') } ], [ JSON::PP::true, JSON::PP::false, undef ], 'requirements shows both');
as('app', q(SELECT agno_approve_call('some')));
expect_run('some', { status => 'COMPLETED' }, 'with the last decision it goes on');
is(told('some'), 'noted 1 | not that one | noted 3', 'each call is as it was decided');
is(done(), '1,3', 'and no other was made');
forget();

#-------------------------------------------------------------------------
# Input, and results from elsewhere
#-------------------------------------------------------------------------

is(value(q(agno_describe_tool('mail') -> 'parameters' -> 'properties')), '{"subject": {"type": "string", "description": "what it is about"}}', 'the model does not see what others give');
start('input', [ [ [ mail => { subject => 'Hi' } ], [ shell => { command => 'ls' } ] ] ]);
expect_run('input', { status => 'PAUSED', content => 'I have tools to execute, but it needs external execution.' }, 'a run waits for input and a result');
is_deeply(json('input', 'requirements')->[0]{user_input_schema}, [
		{ name => 'subject', field_type => 'str', description => undef, value => 'Hi' },
		{ name => 'recipient', field_type => 'str', description => 'whom it is for', value => undef },
		{ name => 'copies', field_type => 'int', description => undef, value => undef } ], 'the fields are those of Agno');
my ($mail, $shell) = (call_id('input', 'mail'), call_id('input', 'shell'));
fails('app', "SELECT agno_approve_call('input', '$mail')", '55000', 'input is not given by an approval');
fails('app', "SELECT agno_approve_call('input')", '55000', 'nor if nothing else waits');
fails('app', "SELECT agno_answer_call('input', '$mail', '\"ann\"')", '22023', 'input is an object');
fails('app', "SELECT agno_answer_call('input', '$mail', '{\"subject\": \"Ho\"}')", '22023', 'of what is asked for only');
fails('app', "SELECT agno_answer_call('input', '$mail', '{\"recipient\": 7}')", '22023', 'of the right type');
fails('app', "SELECT agno_answer_call('input', '$mail', '{\"recipient\": null}')", '22023', 'and is there');
is(as('app', "SELECT status FROM agno_answer_call('input', '$mail', '{\"recipient\": \"ann\"}')"), 'PAUSED', 'one argument is given');
fails('app', "SELECT agno_answer_call('input', '$mail', '{\"recipient\": \"bob\"}')", '55000', 'it cannot be replaced');
is(as('app', "SELECT status FROM agno_answer_call('input', '$mail', '{\"copies\": 2}')"), 'PAUSED', 'and then the other');
is(json('input', 'requirements')->[0]{tool_execution}{answered}, JSON::PP::true, 'the call is answered');
fails('app', "SELECT agno_answer_call('input', '$shell', NULL)", '22004', 'no result is none');
is(as('app', "SELECT status FROM agno_answer_call('input', '$shell', '\"a\\nb\"')"), 'PENDING', 'the result');
expect_run('input', { status => 'COMPLETED' }, 'all that was missing is there');
is(told('input'), "Hi to ann (2) | a\nb", 'the tool gets both, and the model the result verbatim');
is(done(), 'Hi to ann', 'the tool was called once');
is_deeply(json('input', 'tools')->[0]{tool_args}, { subject => 'Hi', recipient => 'ann', copies => 2 }, 'the arguments are shown together');
is(value(q(arguments FROM agno.tool_calls WHERE run_id = 'input' AND tool = 'mail')), '{"subject": "Hi"}', 'and the model is held to what it said');
fails('app', q(SELECT agno_call_tool('shell', '{"command": "ls"}')), '55000', 'what is executed elsewhere cannot be tried here');
is(as('app', q(SELECT agno_call_tool('mail', '{"subject": "A", "recipient": "B"}'))), 'A to B (0)', 'a caller gives all arguments');
forget();

#-------------------------------------------------------------------------
# Agno's dicts
#-------------------------------------------------------------------------

start('dicts', [ [ [ careful => { what => 'd' } ], [ mail => { subject => 'Hi' } ], [ shell => { command => 'ls' } ] ] ]);
my $dicts = json('dicts', 'requirements');
sub continue_with { my ($id, @dicts) = @_; return 'SELECT status FROM agno_continue_run(' . "'$id', '" . encode_json(\@dicts) =~ s/'/''/gr . "')"; }
fails('app', q(SELECT agno_continue_run('dicts')), '55000', 'a run is not continued without decisions');
fails('app', continue_with('dicts', @$dicts), '55000', 'nor with requirements that have none');
fails('app', q(SELECT agno_continue_run('dicts', '{}')), '22023', 'requirements are a list');
sub changed { my ($n, $change) = @_; my $copy = decode_json(encode_json($dicts->[$n])); $change->($copy); return $copy; }
fails('app', continue_with('dicts', changed(0, sub { $_[0]{confirmation} = JSON::PP::true; $_[0]{tool_execution}{tool_args}{what} = 'e' })), '22023', 'arguments cannot be changed');
fails('app', continue_with('dicts', changed(0, sub { $_[0]{confirmation} = JSON::PP::true; $_[0]{tool_execution}{tool_name} = 'note' })), '22023', 'nor the tool');
fails('app', continue_with('dicts', changed(0, sub { $_[0]{confirmation} = JSON::PP::true; $_[0]{updated_tools} = [1] })), '22023', 'what is no decision is refused');
fails('app', continue_with('dicts', changed(0, sub { $_[0]{confirmation} = 'yes' })), '22023', 'yes is not true');
fails('app', continue_with('dicts', changed(0, sub { $_[0]{id} = 'x' })), '22023', 'an unknown id is refused');
fails('app', continue_with('dicts', changed(1, sub { $_[0]{user_input_schema}[0]{value} = 'Ho' })), '22023', 'the argument of the model cannot be changed');
is(as('app', continue_with('dicts', changed(0, sub { $_[0]{confirmation} = JSON::PP::false; $_[0]{confirmation_note} = 'no' }), $dicts->[1])), 'PAUSED', 'a part of the decisions');
is(as('app', continue_with('dicts', changed(1, sub { $_[0]{user_input_schema}[1]{value} = 'ann'; $_[0]{user_input_schema}[2]{value} = 3;
	$_[0]{tool_execution}{user_input_schema} = $_[0]{user_input_schema}; $_[0]{tool_execution}{answered} = JSON::PP::true }),
	changed(0, sub { $_[0]{confirmation} = JSON::PP::false }))), 'PAUSED', 'another, with one that is known');
is(as('app', continue_with('dicts', { %{ $dicts->[2]{tool_execution} }, result => '42' })), 'PENDING', 'a ToolExecution by itself');
expect_run('dicts', { status => 'COMPLETED' }, 'the run goes on');
is(told('dicts'), 'no | Hi to ann (3) | 42', 'as was decided');
forget();

#-------------------------------------------------------------------------
# Who, when, and how often
#-------------------------------------------------------------------------

start('guard', [ [ [ guarded => { what => 'g' } ] ] ]);
is(as('app', 'SELECT count(*) FROM agno.approvals'), 0, 'the owner of the run does not decide where there is an approver');
fails('app', q(SELECT agno_approve_call('guard')), '42501', 'and may not');
fails('app', q{SELECT agno_reject_call('guard', '} . call_id('guard', 'guarded') . q{')}, '42501', 'not even reject');
foreach my $call ('NULL', "'" . call_id('guard', 'guarded') . "'")
{
	my (undef, undef, $error) = $node->psql('postgres', "SELECT agno_approve_call('guard', $call)", extra_params => [ '-U', 'app' ]);
	like($error, qr/DETAIL:  Only members of role "managers" decide\./, 'but is told who may');
}
fails('other', q(SELECT agno_approve_call('guard')), '42704', 'others know nothing of it');
is(as('boss', q(SELECT tool FROM agno.approvals)), 'guarded', 'a member of the role sees it');
is(as('boss', q(SELECT count(*) FROM agno.runs)), 0, 'without seeing the run');
is(as('boss', q(SELECT status FROM agno_approve_call('guard'))), 'PENDING', 'and approves');
expect_run('guard', { status => 'COMPLETED' }, 'then it goes on');
is(value(q(decided_by FROM agno.requirements WHERE run_id = 'guard')), 'boss', 'who approved is kept');
start('dropped', [ [ [ guarded => { what => 'g' } ] ] ]);
$node->safe_psql('postgres', 'ALTER ROLE managers RENAME TO bosses; CREATE ROLE managers; GRANT managers TO other');
is(as('other', 'SELECT count(*) FROM agno.approvals'), 0, 'a new role of that name decides nothing');
is(as('boss', q(SELECT status FROM agno_reject_call('dropped'))), 'PENDING', 'the role does, whatever its name');
forget();

start('late', [ [ [ brief => { what => 'b' } ] ] ]);
$node->poll_query_until('postgres', q(SELECT status = 'COMPLETED' FROM agno.runs WHERE run_id = 'late'));
is(run_status('late'), 'COMPLETED', 'a call that nobody decides about in time is rejected');
like(told('late'), qr/^Nobody decided within 00:00:01/, 'and the model is told why');
is(done(), '', 'it is not made');

start('twice', [ [ [ careful => { what => '1' } ] ], [ [ careful => { what => '2' } ] ] ]);
my $first = call_id('twice', 'careful');
as('app', q(SELECT agno_approve_call('twice')));
$node->poll_query_until('postgres', q(SELECT count(*) = 2 FROM agno.tool_calls JOIN agno.runs USING (run_id) WHERE run_id = 'twice' AND runs.status = 'PAUSED'));
is(scalar(@{ json('twice', 'requirements') }), 2, 'a second pause keeps what was decided in the first');
fails('app', "SELECT agno_approve_call('twice', '$first')", '55000', 'which is over');
is(as('app', continue_with('twice', map { +{ %$_, exists $_->{confirmation} ? () : (confirmation => JSON::PP::true) } } @{ json('twice', 'requirements') })), 'PENDING', 'all of them can be sent back');
expect_run('twice', { status => 'COMPLETED' }, 'it goes on');
is(done(), '1,2', 'each call is made once');
forget();

start('stop', [ [ [ last => { what => 's' } ] ] ], script => { say => ['So: '] });
as('app', q(SELECT agno_approve_call('stop')));
expect_run('stop', { status => 'COMPLETED', content => 'So: noted s' }, 'stop_after_call is not forgotten over a pause');
forget();

start('never', [ [ [ careful => { what => 'n' } ] ] ]);
is(as('app', q(SELECT agno_cancel_run('never'))), 't', 'a PAUSED run can be cancelled');
expect_run('never', { status => 'CANCELLED', content => 'Run never was cancelled' }, 'it ends CANCELLED at once');
fails('app', q(SELECT agno_approve_call('never')), '55000', 'and is not continued');
is(value(q(status FROM agno.tool_calls WHERE run_id = 'never')), 'cancelled', 'its call is cancelled');
is(done(), '', 'and was not made');

start('slow', [ [ [ careful => { what => 'w' } ] ] ], arguments => { timeout => '2 s' });
$node->safe_psql('postgres', 'SELECT pg_sleep(2.5)');
as('app', q(SELECT agno_approve_call('slow')));
expect_run('slow', { status => 'COMPLETED', "(metrics ->> 'duration')::float8 < 2" => 'true' }, 'a pause counts against no timeout');
forget();

$node->safe_psql('postgres', 'ALTER ROLE app SET quote_all_identifiers = on');
start('quoted', [ [ [ careful => { what => 'q' } ] ] ]);
$node->safe_psql('postgres', 'ALTER ROLE app RESET quote_all_identifiers');
as('app', q(SELECT agno_approve_call('quoted')));
expect_run('quoted', { status => 'COMPLETED' }, 'how names are shown where a run is enqueued is nothing to ask again for');
forget();

start('told', [ [ [ careful => { what => 't' } ] ] ], arguments => { stream => 'true' });
as('app', q(SELECT agno_approve_call('told')));
wait_run('told');
is(value(q(regexp_replace(string_agg(event, ' ' ORDER BY seq), '(RunContent )+', 'RunContent ') FROM agno_run_events('told'))),
	'RunStarted RunPaused RunContinued ToolCallStarted ToolCallCompleted RunContent RunCompleted', 'a stream tells of the pause');
is(value(q(max(seq) = count(*) FROM agno_run_events('told'))), 't', 'without gaps');
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN agno_run');
start('heard', [ [ [ careful => { what => 'h' } ] ] ]);
like($listener->query('SELECT 1'), qr/Asynchronous notification "agno_run" with payload "heard"/, 'listeners are told of a pause');
$listener->quit;
as('app', q(SELECT agno_reject_call('heard')));
wait_run('heard');

# What cannot be had.
fails('app', q(INSERT INTO agno.tools (tool, function, preview, requires_user_input) VALUES ('x', 'app.mail', true, '{copies}')), '22023', 'no preview without all arguments');
fails('app', q(INSERT INTO agno.tools (tool, function, external_execution, requires_user_input) VALUES ('x', 'app.mail', true, '{copies}')), '22023', 'no input for what is executed elsewhere');
fails('app', q(INSERT INTO agno.tools (tool, function, requires_user_input) VALUES ('x', 'app.mail', '{nothing}')), '22023', 'no input that is no argument');
fails('app', q(INSERT INTO agno.tools (tool) VALUES ('x')), '23514', 'a tool has a function, or is executed elsewhere');

is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
done_testing();
