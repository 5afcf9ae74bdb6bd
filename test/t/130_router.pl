# What a client sees through a router is what it sees on a node: the same functions with
# the same arguments, the same answers, the same errors with SQLSTATE, message, detail
# and hint; and the relations of all nodes in one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoCluster;
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_plproxy();
my ($router, $n1, $n2) = new_cluster(2);
make_user($_, 'app') foreach $n1, $n2, $router;

#-------------------------------------------------------------------------
# The objects
#-------------------------------------------------------------------------

my $signatures = q(string_agg(concat_ws(' ', proname, pg_get_function_arguments(oid),
		pg_get_function_result(oid), prokind, proisstrict), E'\n' ORDER BY proname)
	FROM pg_proc WHERE proname ~ '^agno_' AND pronamespace = 'public'::regnamespace
	  AND proname NOT IN ('agno_router_add_node', 'agno_router_status', 'agno_grant_usage'));
is(value($router, $signatures), value($n1, $signatures),
	'the functions of a router have the names, arguments and results of those of a node');

foreach my $relation (qw(runs sessions run_events tool_calls approvals stats workers))
{
	my $columns = "string_agg(attname || ' ' || format_type(atttypid, atttypmod), ',' "
	  . "ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'agno.$relation'::regclass "
	  . 'AND attnum > 0 AND NOT attisdropped';
	is(value($router, $columns), value($n1, $columns) . ',node text',
		"agno.$relation has the columns of a node's, and its name");
}

is( value($router, q(
	string_agg(pg_describe_object(classid, objid, 0), ', ') FROM pg_depend d
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agno_router')
	  AND obj_description(objid, classid::regclass::name) IS NULL
	  AND NOT (classid = 'pg_type'::regclass AND
		EXISTS (SELECT FROM pg_type t WHERE t.oid = objid
				AND (t.typrelid <> 0 OR t.typelem <> 0)))
	  AND NOT (classid = 'pg_class'::regclass AND
		EXISTS (SELECT FROM pg_class c WHERE c.oid = objid AND c.relkind = 'c')))),
	'', 'every object has a comment');
is( value($router, q(
	string_agg(p.oid::regprocedure::text, ' ' ORDER BY p.proname)
	FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
	WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agno_router')
	  AND has_function_privilege('public', p.oid, 'EXECUTE'))),
	'agno.reachable(text) agno.shown(text)',
	'nothing is for PUBLIC but to read');

is(value($router, "string_agg(concat_ws(' ', node, reachable, first_slot, last_slot, agents, problem), ', ') FROM agno_router_status()"),
	'n1 t 0 32767 publisher, n2 t 32768 65535 subscriber', 'agno_router_status');
is(outcome($router, "SELECT agno_router_add_node('n3', 'host=/nowhere')"), '08006', 'what cannot be reached is no node');
is(value($router, 'count(*) FROM agno.nodes'), 2, 'nor does anything stay of it');

#-------------------------------------------------------------------------
# Slots
#-------------------------------------------------------------------------

my $slots = q(md5(string_agg(agno_slot(id)::text, ',' ORDER BY i)) FROM (
	SELECT i, CASE i % 6
		WHEN 0 THEN 'customer-' || i
		WHEN 1 THEN repeat('ü', i % 100) || i
		WHEN 2 THEN md5(i::text)::uuid::text
		WHEN 3 THEN overlay(overlay(md5(i::text)::uuid::text placing '7' from 15)
						   placing '8' from 20)
		WHEN 4 THEN overlay(overlay(md5(i::text)::uuid::text placing '7' from 15)
						   placing 'b' from 20) || '/agent'
		ELSE i || '/a/' || i END AS id
	FROM generate_series(1, 6000) i) s);
is(value($router, $slots), value($n1, $slots), 'slots are the same on a router');
is( value($router, q(bool_and(agno_slot(agno.new_id(i)) = i AND agno.new_id(i) > '01')
	FROM generate_series(0, 65535, 97) i)),
	't', 'a router makes ids of a slot');

#-------------------------------------------------------------------------
# What the functions do
#-------------------------------------------------------------------------

# Ids of one's own, of sessions that are on either node.
my %node = (n1 => $n1, n2 => $n2);
my %id = map { my $name = $_; $name => sub { own_id($router, $_[0], $name) } } keys %node;

foreach my $name (sort keys %node)
{
	my $run = $id{$name}->("run-$name");

	enqueue($router, $run, 'echo', role => 'app', user_id => 'ann', priority => 3,
		metadata => '{"a": [1, "ü"]}');
	is(as($router, 'app', "SELECT status || ' ' || content || ' ' || node
			FROM agno_wait_run('$run', '1 min')"),
		"COMPLETED You said: $run $name", "$name: wait");
	my $columns = value($n1, q(string_agg('r.' || attname, ', ' ORDER BY attnum)
		FROM pg_attribute WHERE attrelid = 'agno.runs'::regclass AND attnum > 0));
	my $row = "SELECT $columns FROM agno_get_run_output('$run') r";
	is(as($router, 'app', $row), as($node{$name}, 'app', $row), "$name: poll, every column");
	is(as($router, 'app', "SELECT $columns FROM agno.runs r WHERE run_id = '$run'"),
		as($node{$name}, 'app', $row), "$name: agno.runs");
	is(as($router, 'app', "SELECT count(*) FROM agno_get_run_output('$run', 'another')"),
		0, "$name: not within another session");
	my $dict = "SELECT agno_run_output_dict('$run')";
	is(as($router, 'app', $dict), as($node{$name}, 'app', $dict), "$name: output_dict");
	foreach my $after (0, 1)
	{
		my $events = "SELECT run_id, seq, event, data, created_at
			FROM agno_run_events('$run', $after)";
		is(as($router, 'app', $events), as($node{$name}, 'app', $events), "$name: events after $after");
	}

	# Cancel
	my $hang = $id{$name}->("hang-$name");
	enqueue($router, $hang, 'hang', role => 'app');
	wait_for_request($hang);
	is(as($router, 'app', "SELECT agno_cancel_run('$hang')"), 't', "$name: cancel in flight");
	is(as($router, 'app', "SELECT status FROM agno_wait_run('$hang')"), 'CANCELLED', "$name: cancelled");
	is(as($router, 'app', "SELECT agno_cancel_run('$hang')"), 'f', "$name: cancel of what has ended");

	# Requeue
	my $bad = $id{$name}->("bad-$name");
	enqueue($router, $bad, 'status-400', role => 'app');
	is(as($router, 'app', "SELECT status FROM agno_wait_run('$bad')"), 'ERROR', "$name: a run that fails");
	is(as($router, 'app', "SELECT (agno_requeue_run('$bad')).status"), 'PENDING', "$name: requeue");
	is(as($router, 'app', "SELECT concat(status, attempt) FROM agno_wait_run('$bad')"), 'ERROR2', "$name: it has run again");
}

like(as($router, 'app', "CALL agno_run('Hello', model => 'mock:echo')"),
	qr/\|COMPLETED\|You said: Hello$/, 'CALL agno_run');
$router->safe_psql('postgres', 'CREATE FUNCTION public.agno_wait_run(text) RETURNS SETOF agno.runs LANGUAGE sql AS $$ SELECT NULL::agno.runs LIMIT 0 $$');
like(as($router, 'app', "CALL agno_run('Hello', model => 'mock:echo')"), qr/\|COMPLETED\|You said: Hello$/, 'it waits by its own function, whatever else has that name');
$router->safe_psql('postgres', 'DROP FUNCTION public.agno_wait_run(text)');
is(outcome_as($router, 'app', "BEGIN; CALL agno_run('Hello', model => 'mock:echo')"),
	'2D000', 'not within a transaction block');
my $generated = as($router, 'app', "SELECT run_id FROM agno_arun('Hello', model => 'mock:echo')");
is(as($router, 'app', "SELECT status FROM agno_wait_run('$generated')"), 'COMPLETED', 'a generated id is found');
is(as($router, 'app', "SELECT count(*) FROM agno_get_run_output(NULL)"), 0, 'NULL is no run');
is(as($router, 'app', "SELECT agno_cancel_run(NULL) IS NULL"), 't', 'nor can it be cancelled');

#-------------------------------------------------------------------------
# Decisions
#-------------------------------------------------------------------------

$_->safe_psql('postgres', q(CREATE SCHEMA app AUTHORIZATION app; SET ROLE app;
	CREATE FUNCTION app.note(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'noted ' || what $$))
  foreach $n1, $n2;
as($router, 'app', q(
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('careful', 'app.note', true);
	INSERT INTO agno.tools (tool, description, parameters, external_execution)
		VALUES ('shell', 'Run a command.', '{"type": "object", "properties": {"command": {"type": "string"}}}', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{careful,shell}')));
$n2->poll_query_until('postgres', "SELECT count(*) = 1 FROM agno.agents");

foreach my $name (sort keys %node)
{
	my $session = $id{$name}->('decisions');
	my ($calls, $first, $second, $third) = ([ [ [ careful => { what => 'x' } ] ], [ [ shell => { command => 'ls' } ] ] ],
		map { "$name-$_" } 1 .. 3);

	call_tools($router, $_, 'a', $calls, role => 'app', session_id => "$session-$_") foreach $first, $second, $third;
	is(as($router, 'app', "SELECT status FROM agno_wait_run('$first')"), 'PAUSED', "$name: a run waits for a decision");
	is(as($router, 'app', "SELECT tool || ' ' || arguments FROM agno.approvals WHERE run_id = '$first'"), 'careful {"what": "x"}', "$name: agno.approvals");
	is(as($router, 'app', "SELECT (agno_approve_call('$first', note => 'fine')).status"), 'PENDING', "$name: approve");
	is(as($router, 'app', "SELECT status FROM agno_wait_run('$first')"), 'PAUSED', "$name: it waits for a result");
	is(as($router, 'app', "SELECT (agno_answer_call('$first', tool_call_id, '\"files\"')).status FROM agno.tool_calls WHERE run_id = '$first' AND tool = 'shell'"),
		'PENDING', "$name: answer");
	is(as($router, 'app', "SELECT status FROM agno_wait_run('$first')"), 'COMPLETED', "$name: it goes on to its end");
	is(as($router, 'app', "SELECT string_agg(concat_ws(':', tool, status, result), ' ' ORDER BY turn) FROM agno.tool_calls WHERE run_id = '$first'"),
		'careful:completed:noted x shell:completed:files', "$name: agno.tool_calls");
	as($router, 'app', "SELECT agno_wait_run('$second')");
	is(as($router, 'app', "SELECT (agno_reject_call('$second', note => 'no')).status"), 'PENDING', "$name: reject");
	as($router, 'app', "SELECT agno_wait_run('$third')");
	is(as($router, 'app', "SELECT (agno_continue_run('$third', (SELECT jsonb_agg(jsonb_set(q, '{confirmation}', 'true')) FROM jsonb_array_elements(requirements) q))).status
			FROM agno.runs WHERE run_id = '$third'"), 'PENDING', "$name: continue, with the dicts of Agno");
	is(as($router, 'app', "SELECT status || ' ' || (SELECT status FROM agno.tool_calls WHERE run_id = '$third' AND turn = 1) FROM agno_wait_run('$third')"),
		'PAUSED completed', "$name: the call was made");
}

#-------------------------------------------------------------------------
# Errors
#-------------------------------------------------------------------------

# All that an error says, but for its context.
sub complaint
{
	my ($server, $sql) = @_;
	my ($ret, $out, $err) = $server->psql('postgres', "\\set VERBOSITY verbose\n$sql", extra_params => [ '-U', 'app' ]);

	$err =~ s/^.*?(?=ERROR:)//s;
	$err =~ s/^(?:CONTEXT|LOCATION|LINE|QUERY):.*//ms;
	return $err;
}

my $run = $id{n2}->('run-n2');
foreach my $sql (
	"SELECT agno_arun('')", 'SELECT agno_arun(NULL)',
	"SELECT agno_arun('x', model => 'nobody:x')", "SELECT agno_arun('x', model => 'nothing')",
	"SELECT agno_arun('x', 'unknown agent')", "SELECT agno_arun('x', run_id => '')",
	"SELECT agno_arun('x', session_id => repeat('x', 256))",
	"SELECT agno_arun('x', model => 'mock:echo', output_schema => '[]')",
	"SELECT agno_arun('x', model => 'mock:echo', timeout => '-1 s')",
	"SELECT agno_arun('x', model => 'mock:echo', on_complete => 'no.such_function')",
	"SELECT agno_arun('x', model => 'mock:echo', run_id => '$run')",
	"SELECT agno_arun('x', model => 'mock:echo', session_id => '$run', run_id => '01a204c9-e2eb-7a09-8b7f-da3b38750001')",
	"SELECT agno_requeue_run('$run')", "SELECT agno_requeue_run('unknown')",
	"SELECT agno_requeue_callback('$run')", "SELECT agno_continue_run('$run')",
	"SELECT agno_continue_run('unknown', '[]')", "SELECT agno_approve_call('$run')",
	"SELECT agno_approve_call(NULL)", "SELECT agno_reject_call('unknown')",
	"SELECT agno_answer_call('$run', 'c', '1')", "SELECT agno_run_output_dict(repeat('x', 300))",
	"SELECT agno_describe_tool('no_such_tool')", "SELECT agno_call_tool('no_such_tool')",
	"SELECT agno_call_tool(NULL)", "SELECT agno_call_tool('careful', '[]')",
	"SELECT agno_session_state()", "SELECT agno_update_session_state('{}')",
	"BEGIN READ ONLY; SELECT agno_arun('x', model => 'mock:echo')",
	"BEGIN READ ONLY; SELECT agno_cancel_run('$run')",
	"BEGIN READ ONLY; SELECT agno_requeue_run('$run')",
	"BEGIN READ ONLY; SELECT agno_approve_call('$run')")
{
	my $expected = complaint($n2, $sql);
	$expected =~ s/\n\z/\nDETAIL:  Tools are called on the nodes.\n/ if $sql =~ /session_state\(/;
	is(complaint($router, $sql), $expected, "$sql: the same error");
}
is(as($router, 'app', "SELECT agno_call_tool('careful', '{\"what\": \"x\"}')"), 'noted x', 'agno_call_tool');
is(as($router, 'app', "SELECT agno_describe_tool('shell')"), as($n1, 'app', "SELECT agno_describe_tool('shell')"), 'agno_describe_tool');

# An error of the own server says what it always does.
like(complaint($router, "SELECT status FROM agno_wait_run('$run', 'no interval')"), qr/ERROR:  22007: invalid input syntax for type interval/, 'errors of the router');
is(outcome_as($router, 'app', 'SELECT agno_router_add_node($$n3$$, $$host=x$$)'), '42501', 'nodes are for superusers');
foreach my $bad ([ 'N 3', 'host=x', '42602' ], [ 'n3', 'postgresql://x', '22023' ], [ 'n3', "host=x user=app", '22023' ],
	[ 'n3', 'host=x no_such_option=1', 'HV00D' ], [ 'n1', $n1->connstr('postgres') =~ s/'//gr, '42710' ], [ 'n3', 'host=x', '08006' ])
{
	is(outcome($router, "SELECT agno_router_add_node('$bad->[0]', '$bad->[1]')"), $bad->[2], "no node $bad->[0] at $bad->[1]");
}

$_->stop foreach $router, $n1, $n2;
done_testing();
