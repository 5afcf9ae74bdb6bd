# Agents and tools are written once, through any router, and are on all nodes: what is
# inserted, changed and deleted arrives, with its owner; a node that is added
# receives what there is; a node that was down catches up. A router that is dumped and
# restored is a router again, beside the first.

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
my $url = start_mock('mock');
my @nodes = map { new_cluster_node("n$_", $url) } 1 .. 3;
my $router = new_router('router');
my %node = map { $_->name => $_ } @nodes;

foreach my $server (@nodes, $router)
{
	make_user($server, 'app', 'bob');
	$server->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app; CREATE ROLE team; GRANT team TO app, bob');
}
as($_, 'app', q(CREATE FUNCTION app.note(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'noted ' || what $$)) foreach @nodes;

add_node($router, $nodes[0]);
add_node($router, $nodes[1]);
set_slots($router, @nodes[0, 1]);
sub arrives { my ($query, $name) = @_; ok($_->poll_query_until('postgres', "SELECT $query"), "$name: " . $_->name) foreach @_ > 2 ? @_[2 .. $#_] : @nodes[0, 1]; }

#-------------------------------------------------------------------------
# What is written arrives
#-------------------------------------------------------------------------

as($router, 'app', q(
	INSERT INTO agno.agents (agent_id, model, instructions, num_history_runs, add_history_to_context, metadata)
		VALUES ('a', 'mock:echo', '{Be brief.,Never guess.}', 5, true, '{"k": 1}');
	INSERT INTO agno.agents (agent_id, model, owner) VALUES ('shared', 'mock:echo', 'team');
	INSERT INTO agno.tools (tool, function, bind) VALUES ('careful', 'app.note', '{"what": "user_id"}');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('t', 'mock:tools', '{careful,app.note}')));
arrives("count(*) = 3 FROM agno.agents", 'agents arrive');
arrives("count(*) = 1 FROM agno.tools", 'and tools');
my $rows = q(md5(string_agg(a::text, E'\n' ORDER BY agent_id)) FROM agno.agents a);
is(value($nodes[1], $rows), value($nodes[0], $rows), 'in every column');
is(value($nodes[1], "owner || ' ' || tools::text FROM agno.agents WHERE agent_id = 't'"), 'app {careful,app.note(pg_catalog.text)}', 'with their owner, and the functions that were found');
is(as($router, 'app', "SELECT agent_id || num_history_runs || array_length(instructions, 1) FROM agno.agents WHERE agent_id = 'a'"), 'a52', 'a router reads them');
is(as($router, 'bob', "SELECT string_agg(agent_id, ',') FROM agno.agents"), 'shared', 'each role its own, and those of its groups');
foreach my $name ('n1', 'n2')
{
	my $session = own_id($router, 'agent', $name);
	my $run = as($router, 'app', "SELECT run_id FROM agno_arun('Hello', 'a', session_id => '$session')");
	is(as($router, 'app', "SELECT concat_ws(' ', status, metadata, messages->0->>'role') FROM agno_wait_run('$run')"), 'COMPLETED {"k": 1} system', "$name: a run of an agent");
	is(as($router, 'bob', "SELECT (agno_arun('Hello', 'shared', session_id => '$session-bob')).status"), 'PENDING', "$name: of a group's");
	is(outcome_as($router, 'bob', "SELECT agno_arun('Hello', 'a', session_id => '$session-bob')"), '42704', "$name: but not of another role's");
}
as($router, 'app', q(UPDATE agno.agents SET model = 'mock:changed' WHERE agent_id = 'a'; DELETE FROM agno.tools WHERE tool = 'careful'));
arrives("model = 'mock:changed' AND updated_at > created_at FROM agno.agents WHERE agent_id = 'a'", 'a change arrives');
arrives('count(*) = 0 FROM agno.tools', 'and a deletion');
as($router, 'app', q(BEGIN; DELETE FROM agno.agents; ROLLBACK));
is(value($nodes[0], 'count(*) FROM agno.agents'), 3, 'what is rolled back does not');
is(outcome_as($router, 'app', q(INSERT INTO agno.agents (agent_id, owner) VALUES ('x', 'bob'))), '42501', 'nobody makes agents of others');
is(outcome_as($router, 'app', q(INSERT INTO agno.agents (agent_id, model) VALUES ('x', 'nothing'))), '22023', 'what a node refuses is refused');
is(outcome_as($router, 'app', q(INSERT INTO agno.agents (agent_id, tools) VALUES ('x', '{note}'))), '42883', 'functions are named with their schemas');

#-------------------------------------------------------------------------
# Nodes that are down, and nodes that are new
#-------------------------------------------------------------------------

$nodes[1]->stop('immediate');
as($router, 'app', q(INSERT INTO agno.agents (agent_id, model) VALUES ('later', 'mock:echo')));
$nodes[1]->start;
arrives("count(*) = 1 FROM agno.agents WHERE agent_id = 'later'", 'a node that was down catches up');

my $third = $nodes[2]->connstr('postgres') =~ s/'/''/gr;
is(outcome($router, "SELECT agno_router_add_node('n3', '$third')"), '55000', 'none is added where there are sessions');
is(outcome($router, "SELECT agno_router_add_node('n3', '$third', split => 'n2')"), '55000', 'nor does one that is no copy split another');
is(outcome($router, "SELECT agno_router_add_node('n3', '$third', split => 'n9')"), '42704', 'nor can what is no node be split');
$_->safe_psql('postgres', "DELETE FROM agno.runs; DELETE FROM agno.sessions") foreach @nodes;
as($nodes[2], 'app', "SELECT agno_arun('x', run_id => 'stranger', model => 'mock:echo', run_at => '2100-01-01')");
is(outcome($router, "SELECT agno_router_add_node('n3', '$third')"), '55000', 'a server that has sessions is no second node');
is(value($router, "string_agg(node || first_slot, ',' ORDER BY node) FROM agno.nodes"), 'n10,n232768', 'nothing of this is left');
$_->safe_psql('postgres', "DELETE FROM agno.runs; DELETE FROM agno.sessions") foreach @nodes;
$nodes[2]->safe_psql('postgres', "INSERT INTO agno.agents (agent_id, model) VALUES ('stranger', 'mock:echo')");
add_node($router, $nodes[2]);
set_slots($router, @nodes);
arrives("count(*) = 4 AND bool_and(agent_id <> 'stranger') FROM agno.agents", 'a node that is added receives what there is, for what it had', $nodes[2]);
is(value($router, "string_agg(concat_ws(' ', node, first_slot, last_slot, agents, problem), ',' ORDER BY node) FROM agno_router_status()"),
	'n1 0 21844 publisher,n2 21845 43689 subscriber,n3 43690 65535 subscriber', 'three nodes have as many slots each');
is(value($router, "count(*) FROM generate_series(1, 300) i, agno_arun('x', model => 'mock:echo', session_id => 's' || i) r WHERE agno.node_of(r.session_id) = 'n3'") > 50,
	1, 'and runs go to the new one');
is(as($router, 'app', "SELECT (agno_arun('x', 'a', session_id => '" . own_id($router, 's', 'n3') . "')).status"), 'PENDING', 'of roles that had usage');

# While slots are divided anew, an open transaction that has enqueued holds up that, and
# nobody else.
my ($in, $said) = ("BEGIN; SELECT 'begun' FROM agno_arun('x', 'a');\n", '');
my $idle = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $router->connstr('postgres') ], '<', \$in, '>', \$said, '2>', \$said,
	IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
$idle->pump until $said =~ /begun|ERROR/;
my $divided = '';
my $divides = IPC::Run::start([ 'psql', '-XAtq', '-d', $router->connstr('postgres'), '-c', "SELECT 'divided' FROM agno.attach_enqueue()" ],
	'<', '/dev/null', '>', \$divided, '2>', \$divided);
my $dividing = "count(*) FROM pg_stat_activity WHERE query LIKE '%attach_enqueue%' AND state = 'active' AND pid <> pg_backend_pid()";
wait_until('slots to be divided', sub { value($router, $dividing) == 1 });
is(outcome_as($router, 'app', "SET statement_timeout = '5s'; SELECT status FROM agno_arun('x', 'a')"), 'PENDING', 'others enqueue') foreach 1 .. 5;
is(value($router, $dividing), 1, 'meanwhile');
$in .= "COMMIT;\n\\q\n";
$idle->finish;
$divides->finish;
like($divided, qr/^divided$/m, 'when the transaction is over, slots are divided');
is(as($router, 'app', "SELECT status FROM agno_arun('x', 'a')"), 'PENDING', 'and runs are enqueued');

# A node that cannot receive them is told of, with what to do.
my $deaf = new_node('n4', init => { allows_streaming => 0 });
my $other = new_router('other');
add_node($other, $deaf);
my $n5 = new_cluster_node('n5', $url);
my ($ret, $out, $err) = $other->psql('postgres', "SELECT agno_router_add_node('n5', '" . $n5->connstr('postgres') =~ s/'/''/gr . "')");
is($ret, 0, 'a node that cannot publish agents is one all the same');
like($err, qr/WARNING:  node "n5" could not be made to receive agents and tools\nDETAIL:.*wal_level.*\nHINT:.*\nSELECT agno.publish_agents\(\);\nSELECT agno.publish_agents\('agno_n5'\);\n.*\nSELECT agno.follow_agents\('.*', 'agno_n5'\);/,
	'the statements are told');
set_slots($other, $n5);
like(value($other, "string_agg(concat_ws(' ', node, agents, problem), ',' ORDER BY node) FROM agno_router_status()"),
	qr/^n4 none agno_bg.cluster is off; .*,n5 none agents and tools are not replicated: see its log$/, 'and agno_router_status says so');

#-------------------------------------------------------------------------
# A second router
#-------------------------------------------------------------------------

$router->safe_psql('postgres', 'CREATE DATABASE restored');
my $dump = "$PostgreSQL::Test::Utils::tmp_check/router.sql";
command_ok([ 'pg_dump', '-f', $dump, $router->connstr('postgres') ], 'a router is dumped');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $router->connstr('restored') ], 'and restored');
is($router->safe_psql('restored', 'SELECT count(*) FROM agno.sessions'), value($router, 'count(*) FROM agno.sessions'), 'it shows the same');
my $run = $router->safe_psql('restored', "SELECT run_id FROM agno_arun('x', 'a')", extra_params => [ '-U', 'app' ]);
is(as($router, 'app', "SELECT status FROM agno_wait_run('$run')"), 'COMPLETED', 'what one enqueues the other finds');
is($router->safe_psql('restored', 'SELECT count(*) FROM agno_router_status() WHERE reachable'), 3, 'it knows the nodes');

# A role whose name is to be quoted
foreach my $server (@nodes, $router)
{
	$server->safe_psql('postgres', q(CREATE ROLE "Ann O'Hara \ ""x" LOGIN; SELECT agno_grant_usage($$Ann O'Hara \ "x$$)));
}
my $ann = q(SET SESSION AUTHORIZATION "Ann O'Hara \ ""x";);
my $odd = $router->safe_psql('postgres', "$ann SELECT run_id FROM agno_arun('x', model => 'mock:echo')");
is($router->safe_psql('postgres', "$ann SELECT status || ' ' || owner FROM agno_wait_run('$odd')"), q(COMPLETED "Ann O'Hara \ ""x"), 'a role with an odd name is itself');
is($router->safe_psql('postgres', "$ann SELECT count(*) FROM agno.runs"), 1, 'and sees its run');

$_->stop foreach $router, $other, @nodes, $deaf, $n5;
done_testing();
