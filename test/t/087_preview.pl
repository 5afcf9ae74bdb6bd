# Who decides about a call is shown what it would do: it is executed, its result and the
# rows it changes are noted, and it is undone. An approval is for these arguments and this
# function: if the function has been replaced, before the approval or just before the
# call, somebody is asked again. What a preview cannot do is an error in it.

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
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE TABLE app.orders (id integer PRIMARY KEY, status text);
	CREATE TABLE app.log (what text);
	CREATE TABLE app."Odd Name" (i integer);
	INSERT INTO app.orders SELECT i, 'paid' FROM generate_series(1, 10) i;
	INSERT INTO app."Odd Name" VALUES (1), (2);
	CREATE FUNCTION app.refund(first integer, last integer) RETURNS text LANGUAGE plpgsql AS $$ DECLARE n integer; BEGIN
		UPDATE app.orders SET status = 'refunded' WHERE id BETWEEN first AND last; GET DIAGNOSTICS n = ROW_COUNT;
		INSERT INTO app.log VALUES (format('refunded %s to %s', first, last)); DELETE FROM app."Odd Name" WHERE i = 1;
		PERFORM pg_notify('refunds', 'x'); RETURN n || ' refunded'; END $$;
	CREATE FUNCTION app.fails() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.log VALUES ('fails'); RAISE EXCEPTION 'not today'; END $$;
	CREATE FUNCTION app.sleeps() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(100); RETURN 'slept'; END $$;
	CREATE FUNCTION app.hires() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO agno.agents (agent_id, model) VALUES ('new', 'mock:echo');
		PERFORM agno_arun('x', 'new'); RETURN 'hired'; END $$;
	CREATE FUNCTION app.plain(a text) RETURNS text LANGUAGE sql AS $$ SELECT 'plain ' || a $$;
	INSERT INTO agno.tools (tool, function, preview) VALUES ('refund', 'app.refund', true), ('fails', 'app.fails', true), ('hires', 'app.hires', true), ('reads', 'app.plain', true);
	INSERT INTO agno.tools (tool, function, preview, timeout) VALUES ('sleeps', 'app.sleeps', true, '300 ms');
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('plain', 'app.plain', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{refund,fails,hires,sleeps,reads,plain}')});

sub start { my ($id, $calls, %more) = @_; call_tools($id, 'a', $calls, role => 'app', %more); return wait_run($id); }
sub preview { my ($id, $n) = @_; return decode_json(value("preview FROM agno.requirements WHERE run_id = '$id' AND call_no = " . ($n // 1))); }
sub paused_again { my ($id, $tool_call_id, $after) = @_; return $node->poll_query_until('postgres', "SELECT count(*) = 1 FROM agno.runs r JOIN agno.requirements q USING (run_id) "
	. "WHERE run_id = '$id' AND status = 'PAUSED' AND decision IS NULL AND requirement_id <> '$after'"); }
sub requirement { return value("requirement_id FROM agno.requirements WHERE run_id = '$_[0]'"); }

is(start('one', [ [ [ refund => { first => 2, last => 4 } ] ] ]), 'PAUSED', 'the run waits');
is_deeply(preview('one'), { result => '3 refunded', changes => [
		{ table => 'app."Odd Name"', inserted => 0, updated => 0, deleted => 1 },
		{ table => 'app.log', inserted => 1, updated => 0, deleted => 0 },
		{ table => 'app.orders', inserted => 0, updated => 3, deleted => 0 } ] }, 'the preview tells result and changes by table');
is(value(q(count(*) FROM app.orders WHERE status = 'refunded')), 0, 'nothing has happened');
is(value('count(*) FROM app.log'), 0, 'anywhere');
is_deeply(decode_json(as('app', 'SELECT preview FROM agno.approvals')), preview('one'), 'agno.approvals shows it');
is_deeply(decode_json(value(q(requirements -> 0 -> 'preview' FROM agno.runs WHERE run_id = 'one'))), preview('one'), 'so do the requirements');
is(as('app', q(SELECT status FROM agno_approve_call('one'))), 'PENDING', 'it is approved');
expect_run('one', { status => 'COMPLETED', content => 'Results: 3 refunded' }, 'and executed');
is(value(q(count(*) FROM app.orders WHERE status = 'refunded')), 3, 'now it has happened');
is(value('count(*) FROM app.log'), 1, 'once');

# What earlier calls of the same process did is not in a preview.
start('two', [ [ [ refund => { first => 5, last => 5 } ], [ refund => { first => 6, last => 9 } ], [ reads => { a => 'x' } ] ] ]);
is_deeply([ map { my $p = preview('two', $_); [ $p->{result}, map { $_->{updated} } grep { $_->{table} eq 'app.orders' } @{ $p->{changes} } ] } 1 .. 3 ],
	[ [ '1 refunded', 1 ], [ '4 refunded', 4 ], ['plain x'] ], 'each preview is of its own call');
is_deeply([ grep { /^agno/ } map { $_->{table} } map { @{ preview('two', $_)->{changes} } } 1 .. 3 ], [], 'agno_bg does not tell of its own bookkeeping');
as('app', q(SELECT agno_reject_call('two')));
expect_run('two', { status => 'COMPLETED' }, 'all are rejected');
is(value(q(count(*) FROM app.orders WHERE status = 'refunded')), 3, 'and nothing of them has happened');

start('hires', [ [ ['hires'] ] ]);
is_deeply([ map { [ $_->{table}, $_->{inserted} ] } @{ preview('hires')->{changes} } ],
	[ [ 'agno.agents', 1 ], [ 'agno.runs', 1 ], [ 'agno.sessions', 1 ] ], 'it does of agents that a tool defines, and of runs that it enqueues');
as('app', q(SELECT agno_cancel_run('hires')));

start('bad', [ [ ['fails'], ['sleeps'] ] ]);
like(preview('bad', 1)->{error}, qr/^not today \(SQLSTATE P0001\)/, 'a preview tells of an error');
like(preview('bad', 2)->{error}, qr/statement timeout \(SQLSTATE 57014\)/, 'the time of a preview is bounded');
is(value(q(count(*) FROM app.log WHERE what = 'fails')), 0, 'and is undone');
is(value(q(string_agg(status, ' ') FROM agno.tool_calls WHERE run_id = 'bad')), 'paused paused', 'somebody decides all the same');
as('app', q(SELECT agno_cancel_run('bad')));

#-------------------------------------------------------------------------
# The function as it was
#-------------------------------------------------------------------------

foreach my $tool (qw(refund plain))
{
	my ($function, $arguments) = $tool eq 'refund' ? ('app.refund(first integer, last integer)', { first => 10, last => 10 }) : ('app.plain(a text)', { a => 'x' });
	start("changed-$tool", [ [ [ $tool => $arguments ] ] ]);
	my $before = requirement("changed-$tool");
	as('app', "CREATE OR REPLACE FUNCTION $function RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO app.log VALUES ('$tool'); RETURN 'other'; END \$\$");
	as('app', "SELECT agno_approve_call('changed-$tool')");
	paused_again("changed-$tool", undef, $before);
	is(value("count(*) FROM app.log WHERE what = '$tool'"), 0, "$tool: a function that was replaced is not executed on an earlier approval");
	is(value("decision IS NULL AND decided_by IS NULL FROM agno.requirements WHERE run_id = 'changed-$tool'"), 't', "$tool: somebody is asked again");
	is(preview("changed-$tool")->{result}, 'other', 'with another preview') if $tool eq 'refund';
	as('app', "SELECT agno_approve_call('changed-$tool')");
	expect_run("changed-$tool", { status => 'COMPLETED', content => 'Results: other', 'jsonb_array_length(requirements)' => 1 }, "$tool: and approves of that");
	is(value("count(*) FROM app.log WHERE what = '$tool'"), 1, "$tool: which is executed once");
}

# Arguments are given by their names: another name is another argument.
start('names', [ [ [ refund => { first => 20, last => 21 } ] ] ]);
my $named = requirement('names');
as('app', q(DROP FUNCTION app.refund; CREATE FUNCTION app.refund(last integer, first integer) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.log VALUES ('refund'); RETURN 'other'; END $$));
as('app', q(SELECT agno_approve_call('names')));
paused_again('names', undef, $named);
is(value(q(count(*) FROM app.log WHERE what = 'refund')), 1, 'a function whose arguments have changed places is not executed on an earlier approval');
as('app', q(SELECT agno_cancel_run('names')));

# A function that is replaced while its preview is made was not what is shown.
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(87)');
as('app', q(
	CREATE FUNCTION app.waits(k integer) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(87); RETURN 'pays ' || k; END $$;
	INSERT INTO agno.tools (tool, function, preview) VALUES ('waits', 'app.waits', true); INSERT INTO agno.agents (agent_id, model, tools) VALUES ('b', 'mock:tools', '{waits}')));
call_tools('meanwhile', 'b', [ [ [ waits => { k => 10 } ] ] ], role => 'app');
$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted));
as('app', q(CREATE OR REPLACE FUNCTION app.waits(k integer) RETURNS text LANGUAGE sql AS $$ SELECT 'pays ' || k * 1000 $$));
$holder->query_safe('SELECT pg_advisory_unlock(87)');
$holder->quit;
is(wait_run('meanwhile'), 'PAUSED', 'the run waits');
is(preview('meanwhile')->{result}, 'pays 10', 'a preview of a function that has been replaced meanwhile');
my $first = requirement('meanwhile');
as('app', q(SELECT agno_approve_call('meanwhile')));
ok(paused_again('meanwhile', undef, $first), 'is approved for nothing');
is(preview('meanwhile')->{result}, 'pays 10000', 'the next one is of the other');
as('app', q(SELECT agno_approve_call('meanwhile')));
expect_run('meanwhile', { status => 'COMPLETED', content => 'Results: pays 10000' }, 'which is called then');

# What the session's state has for the call is part of what was shown.
as('app', q(
	CREATE FUNCTION app.pays(k text, amount integer) RETURNS text LANGUAGE sql AS $$ SELECT format('pays %s to %s', amount, k) $$;
	INSERT INTO agno.tools (tool, function, preview, bind) VALUES ('pays', 'app.pays', true, '{"amount": "state.amount"}');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('c', 'mock:tools', '{pays}')));
foreach my $changes (0, 1)
{
	my $id = "state-$changes";
	call_tools($id, 'c', [ [ [ pays => { k => 'bob' } ] ] ], role => 'app', session_state => '{"amount": 10, "other": 1}');
	wait_run($id);
	is(preview($id)->{result}, 'pays 10 to bob', 'a preview with what is bound to the state');
	$first = requirement($id);
	$node->safe_psql('postgres', sprintf q(UPDATE agno.run_requests SET session_state = '{"amount": %d, "other": 2}' WHERE run_id = '%s'), $changes ? 1000 : 10, $id);
	as('app', "SELECT agno_approve_call('$id')");
	expect_run($id, { status => 'COMPLETED', content => 'Results: pays 10 to bob' }, 'it is called if that is as it was') if !$changes;
	next if !$changes;
	ok(paused_again($id, undef, $first), 'if not, somebody is asked again');
	is(preview($id)->{result}, 'pays 1000 to bob', 'with another preview');
	as('app', "SELECT agno_approve_call('$id')");
	expect_run($id, { status => 'COMPLETED', content => 'Results: pays 1000 to bob' }, 'and approves of that');
}

# What does not change what it does is not asked for again.
start('same', [ [ [ plain => { a => 'x' } ] ] ]);
as('app', q(COMMENT ON FUNCTION app.plain IS 'Other words.'; GRANT EXECUTE ON FUNCTION app.plain TO PUBLIC));
as('app', q(SELECT agno_approve_call('same')));
expect_run('same', { status => 'COMPLETED' }, 'a comment changes nothing');
start('owner', [ [ [ plain => { a => 'x' } ] ] ]);
my $before = requirement('owner');
as('app', q(ALTER FUNCTION app.plain SET work_mem = '1MB'));
as('app', q(SELECT agno_approve_call('owner')));
paused_again('owner', undef, $before);
pass('a setting does');
as('app', q(DROP FUNCTION app.plain));
as('app', q(SELECT agno_approve_call('owner')));
expect_run('owner', { status => 'COMPLETED', content => qr/does not exist any more \(SQLSTATE 42883\)/ }, 'a function that is gone is an error of the tool');

is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
done_testing();
