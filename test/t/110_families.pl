# Agents that are tools: a call enqueues a run of that agent, and the caller waits for it
# without a place among the runs in flight. Children of one answer run side by side;
# what comes of them is the result of their calls, and what they cost is in the
# parent's metrics. They have the parent's user, priority and what is left of its time.
# A cancelled parent leaves none behind; a child that pauses makes its parents pause.

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
make_user('app', 'other');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE TABLE app.done (what text);
	CREATE FUNCTION app.note(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO app.done VALUES (what); RETURN 'noted ' || what; END $$;
	CREATE FUNCTION app.nap(seconds float8) RETURNS text LANGUAGE sql AS $$ SELECT 'slept' || pg_sleep(seconds)::text $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('careful', 'app.note', true);
	INSERT INTO agno.agents (agent_id, model, tools, name, role) VALUES
		('leaf', 'mock:tools', '{app.note,app.nap,careful}', 'Leaf', 'Does one thing.'),
		('slow leaf', 'mock:slow-400', NULL, NULL, NULL),
		('broken', 'mock:status-400', NULL, NULL, NULL),
		('never', 'mock:hang', NULL, NULL, NULL);
	INSERT INTO agno.agents (agent_id, model, add_history_to_context) VALUES ('historian', 'mock:slow-100', true);
	INSERT INTO agno.agents (agent_id, model, tools, timeout) VALUES ('brief', 'mock:tools', '{app.nap}', '1s');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES
		('middle', 'mock:tools', '{agent:leaf,agent:never}');
	INSERT INTO agno.agents (agent_id, model, tools, add_history_to_context) VALUES ('archivist', 'mock:tools', '{careful}', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES
		('boss', 'mock:tools', '{agent:middle,agent:leaf,"agent:slow leaf",agent:broken,agent:historian,agent:archivist,agent:never,agent:brief,app.note}');
	INSERT INTO agno.agents (agent_id, model) VALUES ('loop', 'mock:tools');
	UPDATE agno.agents SET tools = '{agent:loop}' WHERE agent_id = 'loop';});

# A task for the model "tools": calls of which this is the script.
sub task { my ($id, @turns) = @_;
	return JSON::PP->new->canonical->encode({ id => $id,
			calls => [ map { [ map { { name => $_->[0], arguments => $_->[1] // '' } } @$_ ] } @turns ] }); }
sub delegate { my ($name, $task) = @_; return [ $name => { task => $task } ]; }
sub start { my ($id, $turns, %more) = @_; call_tools($id, delete $more{agent} // 'boss', $turns, role => 'app', %more); }
sub children { return value("string_agg($_[1], ',' ORDER BY created_at, run_id) FROM agno.runs WHERE parent_run_id = '$_[0]'"); }
sub below { my ($id) = @_; return value("count(*) FROM (WITH RECURSIVE f AS (SELECT run_id, status FROM agno.runs WHERE parent_run_id = '$id'"
	. " UNION ALL SELECT r.run_id, r.status FROM f JOIN agno.runs r ON r.parent_run_id = f.run_id) SELECT * FROM f"
	. ($_[1] ? " WHERE status = '$_[1]'" : " WHERE status IN ('PENDING', 'RUNNING', 'PAUSED')") . ') f'); }

#-------------------------------------------------------------------------
# What comes of children
#-------------------------------------------------------------------------

start('one', [ [ delegate(leaf => 'a simple task') ] ], user_id => 'ann', priority => 3, timeout => '1 hour');
expect_run('one', { status => 'COMPLETED', content => 'Results: Results: ' }, 'a child answers');
is(children('one', 'agent_id || status || owner || user_id || priority'), 'leafCOMPLETEDappann3', 'it is of the same owner, user and priority');
is(value(q(count(*) FROM agno.runs c JOIN agno.runs p ON c.parent_run_id = p.run_id WHERE p.run_id = 'one'
	AND c.session_id <> p.session_id)), 1, 'and has a session of its own');
is(value(q(d.timeout > '59 min' AND d.timeout <= '1 h' FROM agno.run_requests d JOIN agno.runs r USING (run_id) WHERE r.parent_run_id = 'one')), 't',
	'and what is left of its parent\'s time');
start('memory', [ [ delegate(historian => 'first'), delegate(historian => 'second') ] ], session_id => 'library');
expect_run('memory', { status => 'COMPLETED', content => 'Results: You said: first; You said: second' }, 'an agent with a history');
is(value(q(string_agg(DISTINCT session_id, ',') || ' ' || bool_or(content LIKE '%') FROM agno.runs WHERE parent_run_id = 'memory')), 'library/historian true', 'has one session below each of its caller');
is(value(q(count(*) FROM agno.runs a JOIN agno.runs b ON a.parent_run_id = b.parent_run_id AND a.started_at < b.started_at
	WHERE a.parent_run_id = 'memory' AND a.finished_at <= b.started_at)), 1, 'where its runs come one after the other');
is(value(q((SELECT (c.metrics->>'total_tokens')::int FROM agno.runs c WHERE c.parent_run_id = 'one') || ' ' || (metrics->>'total_tokens')
	FROM agno.runs WHERE run_id = 'one')), '18 54', 'what it cost is part of what its parent cost');
is(value(q(string_agg(t->>'child_run_id', ',') = (SELECT run_id FROM agno.runs WHERE parent_run_id = 'one')
	FROM agno.runs, jsonb_array_elements(tools) t WHERE run_id = 'one')), 't', 'runs.tools tells which run it was');
my ($request) = grep { ($_->{body}{input}[0]{content} // '') =~ /"id":"one"/ } mock_requests('mock');
my ($told) = grep { $_->{name} eq 'leaf' } @{ $request->{body}{tools} };
is($told->{description}, 'Does one thing.', 'the model is told what the agent is for');
is_deeply([ keys %{ $told->{parameters}{properties} } ], ['task'], 'and gives a task');

start('side', [ [ map { delegate('slow-leaf' => "task $_") } 1 .. 5 ] ]);
expect_run('side', { status => 'COMPLETED', content => 'Results: ' . join '; ', map { "You said: task $_" } 1 .. 5 }, 'five children');
is(value(q(max(started_at) < min(finished_at) FROM agno.runs WHERE parent_run_id = 'side')), 't', 'side by side');

start('mixed', [ [ delegate(leaf => task('x', [ [ note => { what => 'below' } ] ])), [ note => { what => 'above' } ],
	delegate(broken => 'z'), delegate(nobody => 'z'), [ leaf => { task => '' } ], [ leaf => { job => 'z' } ] ],
	[ delegate(leaf => task('y', [ [ note => { what => 'later' } ] ])) ] ]);
expect_run('mixed', { status => 'COMPLETED', content => 'Results: Results: noted later' }, 'children beside other calls, and in turns');
is(value(q(string_agg(tool || ':' || status, ' ' ORDER BY turn, call_no) FROM agno.tool_calls WHERE run_id = 'mixed')),
	'leaf:completed note:completed broken:error nobody:refused leaf:error leaf:error leaf:completed', 'failures are told');
like(value(q(error FROM agno.tool_calls WHERE run_id = 'mixed' AND tool = 'broken')), qr/400/, 'with their error');

start('deep', [ [ delegate(middle => task('m', [ delegate(leaf => task('l', [ [ note => { what => 'deep' } ] ])), delegate(leaf => 'q') ])),
	delegate(leaf => 'other') ] ]);
expect_run('deep', { status => 'COMPLETED', content => 'Results: Results: Results: noted deep; Results: ; Results: ' }, 'children of children');
is(value(q((metrics->>'total_tokens') FROM agno.runs WHERE run_id = 'deep')), 8 * 18, 'are counted all the way up');
is(as('app', q(SELECT string_agg(format('%s:%s:%s:%s', depth, agent_id, status, total_tokens), ' ' ) FROM agno.run_tree('deep'))),
	'0:boss:COMPLETED:36 1:middle:COMPLETED:36 2:leaf:COMPLETED:36 2:leaf:COMPLETED:18 1:leaf:COMPLETED:18', 'agno.run_tree tells what each has cost itself');
is(as('other', q(SELECT count(*) FROM agno.run_tree('deep'))), 0, 'not to others');
start('outlived', [ [ delegate(leaf => task('l', [ [ nap => { seconds => 0 } ] ], [ [ nap => { seconds => 60 } ] ])) ] ], timeout => '3s');
expect_run('outlived', { status => 'ERROR' }, 'a parent that ends before its child');
wait_until('the end of the child', sub { below('outlived') == 0 });
is(value(q(string_agg(depth || ':' || t.total_tokens, ' ' ORDER BY depth) FROM agno.run_tree('outlived') t)), '0:18 1:36', 'which is not a part of what that has cost');

start('told', [ [ delegate(brief => task('b', [ [ nap => { seconds => 60 } ] ])) ] ]);
expect_run('told', { status => 'COMPLETED' }, 'a parent of a child that fails');
is(value(q(string_agg(depth || ':' || t.status || ':' || t.total_tokens, ' ' ORDER BY depth) FROM agno.run_tree('told') t)), '0:COMPLETED:36 1:ERROR:18', 'counts what that has cost');
my $requeued = children('told', 'run_id');
call_tools('streamed late', 'boss', [ [ delegate(never => 'x') ] ], role => 'app', stream => 'true', timeout => '1s');
as('app', "SELECT agno_requeue_run('$requeued')");
wait_until('the child to end again', sub { value("finished_at IS NOT NULL AND attempt = 2 FROM agno.runs WHERE run_id = '$requeued'") eq 't' });
is(value(q(own.total_tokens, m.input_tokens + m.output_tokens FROM agno.run_tree('told') own JOIN agno.run_metrics m USING (run_id) WHERE run_id = 'told')), '36|36',
	'and no more when it is requeued later');
wait_until('a streamed parent, and its child, to end', sub { below('streamed late') == 0 && value("finished_at IS NOT NULL FROM agno.runs WHERE run_id = 'streamed late'") eq 't' && value('count(*) FROM agno.run_signals') == 0 });
is(value(q(event FROM agno.run_events WHERE run_id = 'streamed late' ORDER BY seq DESC LIMIT 1)), 'RunError', 'a streamed parent that ends before its child tells nothing after that');
as('app', q(SELECT agno_requeue_run('streamed late')));
expect_run('streamed late', { status => 'COMPLETED' }, 'it is requeued');
is(value(q(string_agg(event, ' ' ORDER BY event) FROM agno.run_events WHERE run_id = 'streamed late' AND event ~ '^(Tool|Run[ER])')), 'RunError RunRetried ToolCallCompleted ToolCallError ToolCallStarted',
	'and has told of what has come of its call');

start('loop', [ [ delegate(loop => task('1', [ delegate(loop => task('2', [ delegate(loop => task('3', [ delegate(loop => task('4',
	[ delegate(loop => task('5', [ delegate(loop => 'end') ])) ])) ])) ])) ])) ] ], agent => 'loop');
expect_run('loop', { status => 'COMPLETED', content => qr/5 levels deep.*SQLSTATE 53400/ }, 'an agent that calls itself comes to an end');
configure(max_run_depth => 0);
start('flat', [ [ delegate(leaf => 'x') ] ]);
expect_run('flat', { status => 'COMPLETED', content => qr/SQLSTATE 53400/ }, 'max_run_depth = 0 allows none');
configure(max_run_depth => 5);

start('streamed', [ [ delegate(leaf => 'x') ] ], stream => 'true');
expect_run('streamed', { status => 'COMPLETED' }, 'a streamed parent');
is(value(q(string_agg(event, ' ' ORDER BY seq) FROM agno.run_events WHERE run_id = 'streamed' AND event LIKE 'Tool%')),
	'ToolCallStarted ToolCallCompleted', 'tells of its calls');
is(value(q(bool_and(data->'tool'->>'child_run_id' = (SELECT run_id FROM agno.runs WHERE parent_run_id = 'streamed'))
	FROM agno.run_events WHERE run_id = 'streamed' AND event = 'ToolCallCompleted')), 't', 'and of the runs that they were');

#-------------------------------------------------------------------------
# Whose they are
#-------------------------------------------------------------------------

# Agents may be written in any order, as a restore does: they are looked for when a run is enqueued.
sub calls { my ($role, $tools) = @_; as($role, qq(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('$role-x', 'mock:tools', '{$tools}')
	ON CONFLICT (agent_id) DO UPDATE SET tools = excluded.tools)); return outcome_as($role, qq(SELECT agno_arun('x', agent_id => '$role-x'))); }
is(calls('other', 'agent:leaf'), '42704', 'nobody calls an agent that is not for them');
is(calls('app', 'agent:nobody'), '42704', 'or that is not there');
my ($ret, $out, $err) = $node->psql('postgres', q(SELECT agno_call_tool('agent:leaf', '{"task": "x"}')), extra_params => [ '-U', 'app' ]);
like($err, qr/tool "leaf" is an agent, which only a run can call\nHINT:  Use agno_arun\(\) with agent_id => 'leaf'/, 'agno_call_tool says what to do with an agent');
is(outcome_as('app', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('two', 'mock:tools', '{agent:slow leaf,agent:slow-leaf}'))), '42710', 'two of one name are refused');
is(outcome_as('app', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('two', 'mock:tools', '{agent:}'))), '42602', 'and no name');

#-------------------------------------------------------------------------
# The end of a parent
#-------------------------------------------------------------------------

start('cancelled', [ [ map { delegate(never => "task $_") } 1 .. 3 ], [ delegate(leaf => 'x') ] ]);
ok($node->poll_query_until('postgres', q(SELECT count(*) = 3 FROM agno.runs WHERE parent_run_id = 'cancelled' AND status = 'RUNNING')), 'children run');
is(value(q(state FROM agno.run_queue WHERE run_id = 'cancelled')), 't', 'the parent waits, and is not in flight');
as('app', q(SELECT agno_cancel_run('cancelled')));
expect_run('cancelled', { status => 'CANCELLED' }, 'the parent is cancelled');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 3 FROM agno.runs WHERE parent_run_id = 'cancelled' AND status = 'CANCELLED')), 'and so are they');
start('far', [ [ delegate(middle => task('m', [ delegate(never => 'x'), delegate(never => 'y') ])) ] ]);
ok($node->poll_query_until('postgres', q(SELECT count(*) = 2 FROM agno.runs WHERE agent_id = 'never' AND status = 'RUNNING')), 'grandchildren run');
as('app', q(SELECT agno_cancel_run('far')));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.runs WHERE status IN ('PENDING', 'RUNNING'))), 'and are cancelled with it');
is(below('far', 'CANCELLED'), 3, 'all of them');
start('late', [ [ delegate(never => 'x') ] ], timeout => '2 s');
expect_run('late', { status => 'ERROR', error => qr/timeout/i }, 'a parent whose time is over');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.runs WHERE status IN ('PENDING', 'RUNNING'))), 'leaves none behind');
start('part', [ [ delegate(never => 'x'), delegate(leaf => 'y') ] ]);
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM agno.runs WHERE parent_run_id = 'part' AND status = 'RUNNING' AND agent_id = 'never')), 'a child runs');
as('app', q(SELECT agno_cancel_run(run_id) FROM agno.runs WHERE parent_run_id = 'part' AND agent_id = 'never'));
expect_run('part', { status => 'COMPLETED', content => qr/cancelled.*; Results: $/i }, 'a child that is cancelled is a result like another');
start('gone', [ [ delegate('slow-leaf' => 'x') ] ]);
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM agno.runs WHERE parent_run_id = 'gone' AND status = 'RUNNING')), 'a child runs');
$node->safe_psql('postgres', q(DELETE FROM agno.runs WHERE parent_run_id = 'gone'));
expect_run('gone', { status => 'COMPLETED', content => qr/not there any more/ }, 'a child that is deleted is one, too');

#-------------------------------------------------------------------------
# Children that pause
#-------------------------------------------------------------------------

sub pauses { my ($id) = @_;
	start($id, [ [ delegate(middle => task("$id-m", [ delegate(leaf => task("$id-l", [ [ careful => { what => "$id-1" } ] ])),
		delegate(leaf => task("$id-k", [ [ careful => { what => "$id-2" } ] ])) ])) ] ]);
	is(wait_run($id), 'PAUSED', "$id: a child that pauses makes its parents pause");
	ok($node->poll_query_until('postgres', "SELECT jsonb_array_length(requirements) = 2 FROM agno.runs WHERE run_id = '$id'"), "$id: for all that it waits for");
	is(below($id, 'PAUSED'), 3, "$id: the whole branch"); }

pauses('above');
is(value(q(string_agg(r->>'member_agent_name', ',') FROM agno.runs, jsonb_array_elements(requirements) r WHERE run_id = 'above')), 'Leaf,Leaf', 'told by Agno\'s names');
as('app', q(SELECT agno_approve_call('above')));
expect_run('above', { status => 'COMPLETED', content => qr/noted above-1.*noted above-2/ }, 'and can be decided about there');
pauses('mid');
as('app', q(SELECT agno_approve_call(run_id) FROM agno.runs WHERE parent_run_id = 'mid'));
expect_run('mid', { status => 'COMPLETED', content => qr/noted mid-1.*noted mid-2/ }, 'or in between');
pauses('leafs');
as('app', q(SELECT agno_approve_call(c.run_id) FROM agno.runs c JOIN agno.runs m ON m.run_id = c.parent_run_id
	WHERE m.parent_run_id = 'leafs' ORDER BY c.run_id LIMIT 1));
is(run_status('leafs'), 'PAUSED', 'one decision is not all');
as('app', q(SELECT agno_reject_call(c.run_id) FROM agno.runs c JOIN agno.runs m ON m.run_id = c.parent_run_id
	WHERE m.parent_run_id = 'leafs' AND c.status = 'PAUSED'));
expect_run('leafs', { status => 'COMPLETED', content => qr/noted leafs-.*rejected/ }, 'or on the runs themselves, one by one');
pauses('away');
$node->safe_psql('postgres', q(SELECT agno_cancel_run(c.run_id) FROM agno.runs c JOIN agno.runs m ON m.run_id = c.parent_run_id
	WHERE m.parent_run_id = 'away'));
expect_run('away', { status => 'COMPLETED', content => qr/cancelled.*cancelled/ }, 'a parent goes on when its children end undecided');
start('same', [ [ map { delegate(archivist => task("same-$_", [ [ careful => { what => "same-$_" } ] ])) } 1 .. 2 ] ], timeout => '20 s');
is(wait_run('same'), 'PAUSED', 'children of one session: the first one pauses, the other one waits for it');
as('app', q(SELECT agno_approve_call('same')));
is($node->poll_query_until('postgres', q(SELECT status = 'PAUSED' AND (SELECT count(*) = 1 FROM agno.approvals WHERE arguments->>'what' = 'same-2') FROM agno.runs WHERE run_id = 'same')), 1, 'then the other');
is(outcome_as('app', q(SELECT (agno_continue_run('same', (SELECT jsonb_agg(r || '{"confirmation": true}') FROM agno.runs,
	jsonb_array_elements(requirements) r WHERE run_id = 'same'))).status)), 'PENDING', 'and Agno\'s dicts decide, with those that are done');
expect_run('same', { status => 'COMPLETED', content => qr/noted same-1.*noted same-2/ }, 'both are made');
start('once more', [ [ delegate(leaf => task('m1', [ [ careful => { what => 'm1' } ] ], [ [ careful => { what => 'm2' } ] ])),
	delegate(leaf => task('m3', [ [ careful => { what => 'm3' } ] ])) ] ]);
is(wait_run('once more'), 'PAUSED', 'a child that pauses twice');
ok($node->poll_query_until('postgres', q(SELECT jsonb_array_length(requirements) = 2 FROM agno.runs WHERE run_id = 'once more')), 'beside another');
as('app', q(SELECT agno_approve_call(run_id) FROM agno.approvals WHERE arguments->>'what' = 'm1'));
ok($node->poll_query_until('postgres', q(SELECT jsonb_array_length(requirements) = 3 FROM agno.runs WHERE run_id = 'once more')), 'shows that above');
as('app', q(SELECT agno_approve_call('once more')));
expect_run('once more', { status => 'COMPLETED', content => qr/noted m2.*noted m3/ }, 'and ends');
pauses('stop');
as('app', q(SELECT agno_cancel_run('stop')));
expect_run('stop', { status => 'CANCELLED' }, 'a paused family is cancelled');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.runs WHERE status = 'PAUSED')), 'as a whole');
is(value(q(string_agg(what, ',' ORDER BY what) FROM app.done)), 'above,above-1,above-2,below,deep,later,leafs-1,m1,m2,m3,mid-1,mid-2,same-1,same-2', 'nothing has happened that was not to be')
  or diag(value(q(string_agg(what, ',' ORDER BY what) FROM app.done)));

is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
done_testing();
