# On the nodes, a role that comes through a router is itself: with its own password, by TLS
# that verifies the node, it sees its own runs, decides what it may decide, and can
# be nobody else, whatever it does to its own user mapping. What an ordinary role tries
# here is tried on a node that asks for passwords and on one that asks for none.

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
my $dir = $PostgreSQL::Test::Utils::tmp_check;
$ENV{HOME} = $dir;		# where libpq looks for certificates of its own
my $url = start_mock('mock');
make_certificate();

# The first takes passwords, by TCP and TLS only.
my $n1 = new_cluster_node('n1', $url,
	conf => "listen_addresses = '127.0.0.1'\nssl = on\nssl_cert_file = '$dir/cert.pem'\nssl_key_file = '$dir/key.pem'\npassword_encryption = 'scram-sha-256'\n");
unlink $n1->data_dir . '/pg_hba.conf';
$n1->append_conf('pg_hba.conf', "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n");
$n1->reload;
my $n2 = new_cluster_node('n2', $url);
my $router = new_router('router');

my @roles = qw(app bob boss carol mallory);
$n1->safe_psql('postgres', "ALTER ROLE postgres PASSWORD 'secret-postgres'")
  if value($n1, 'current_user') eq 'postgres';
my $admin = value($router, 'current_user');
foreach my $server ($n1, $n2, $router)
{
	$server->safe_psql('postgres', "CREATE ROLE $_ LOGIN PASSWORD 'secret-$_'") foreach @roles;
	$server->safe_psql('postgres', 'CREATE ROLE managers; GRANT managers TO boss; CREATE SCHEMA app AUTHORIZATION app');
}
$n1->safe_psql('postgres', "ALTER ROLE \"$admin\" PASSWORD 'secret-admin'");
foreach my $node ($n1, $n2)
{
	$node->safe_psql('postgres', "SELECT agno_grant_usage('$_')") foreach @roles;
	as($node, 'app', q(CREATE FUNCTION app.note(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'noted ' || what $$));
}
my $tcp = "host=127.0.0.1 port=" . $n1->port . " dbname=postgres sslmode=verify-full sslrootcert='$dir/cert.pem'";
my ($ret, $out, $err) = $router->psql('postgres', 'SELECT agno_router_add_node($$n1$$, $$' . $tcp . ' password=wrong$$)');
like($err, qr/the node cannot be reached\nDETAIL:.*password authentication failed/, 'a wrong password');
$router->safe_psql('postgres', 'SET client_min_messages = error; SELECT agno_router_add_node($$n1$$, $$' . $tcp . " password='secret-admin'\$\$)");
add_node($router, $n2, $n2->connstr('postgres') . q( password='other'));
is(value($router, q(string_agg(m.srvname || ' ' || o.option_value, ', ' ORDER BY m.srvname)
	FROM pg_user_mappings m, pg_options_to_table(m.umoptions) o WHERE m.usename = current_user AND o.option_name = 'password')),
	'n1 secret-admin, n2 other', 'who adds nodes has a password of his own for each');
set_slots($router, $n1, $n2);
$router->safe_psql('postgres', "SELECT agno_grant_usage('$_', 'secret-$_')") foreach qw(app boss mallory);
$router->safe_psql('postgres', "SELECT agno_grant_usage('bob', 'not-the-password')");
# postgres_fdw refuses a node that does not ask for the password that it has.
$router->safe_psql('postgres', "DROP USER MAPPING FOR $_ SERVER n2; SELECT agno_grant_usage('$_')") foreach qw(app boss bob mallory);
is(value($router, "string_agg(concat_ws(' ', node, reachable, agents, problem), ', ') FROM agno_router_status()"), 'n1 t publisher, n2 t subscriber',
	'nodes are added, and agents replicated, with passwords and TLS');

my %session = map { $_ => own_id($router, 'session', $_) } 'n1', 'n2';

$session{mallory} = own_id($router, 'mallory', 'n1');

#-------------------------------------------------------------------------
# Who one is
#-------------------------------------------------------------------------

foreach my $name ('n1', 'n2')
{
	my $run = "run-$name";

	is(enqueue($router, $run, 'echo', role => 'app', session_id => $session{$name}), 'PENDING', "$name: agno_arun");
	is(as($router, 'app', "SELECT concat_ws(' ', status, owner, node) FROM agno_wait_run('$run')"), "COMPLETED app $name", "$name: the owner is the caller");
	is(as($router, 'app', "SELECT string_agg(run_id, ',') FROM agno.runs WHERE node = '$name'"), $run, "$name: agno.runs");
	is(as($router, 'mallory', "SELECT count(*) FROM agno_get_run_output('$run')"), 0, "$name: another role does not see the run");
	is(as($router, 'mallory', "SELECT count(*) FROM agno.runs"), 0, "$name: nor in agno.runs");
	is(as($router, 'mallory', "SELECT agno_cancel_run('$run')"), 'f', "$name: nor can it cancel it");
	is(outcome_as($router, 'mallory', "SELECT agno_arun('x', session_id => '$session{$name}', model => 'mock:echo')"), '42501', "$name: nor enqueue into its session");
	is(as($router, $admin, "SELECT count(*) FROM agno.runs WHERE run_id = '$run'"), 1, "$name: a superuser sees it");
}
my $connections = "string_agg(DISTINCT concat_ws(' ', usename, ssl), ',' ORDER BY concat_ws(' ', usename, ssl))
	FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = 'app'";
is(as($router, 'app', "SELECT agno_get_run_output('run-n1') IS NULL; SELECT count(*) FROM agno.runs; SELECT agno_call_tool('agno.run_sql_query',
	'{\"query\": \"SELECT bool_and(ssl), count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = current_user AND client_addr IS NOT NULL\"}')") =~ s/.*\n//sr,
	'[{"bool_and":true,"count":2}]', 'both engines connect as the role, with TLS');

is(outcome_as($router, 'bob', "SELECT agno_get_run_output(agno.new_id(1))"), '08006', 'a wrong password of a role: PL/Proxy');
is(outcome_as($router, 'bob', "SELECT agno_arun('x', session_id => '$session{n1}', model => 'mock:echo')"), '08001', 'and postgres_fdw');
is(outcome_as($router, 'bob', "SELECT status FROM agno_arun('x', session_id => '$session{n2}x', model => 'mock:echo')"), $_, 'but not where none is asked for')
  foreach value($router, "CASE WHEN agno.node_of('$session{n2}x') = 'n2' THEN 'PENDING' ELSE '08001' END");
is(outcome_as($router, 'carol', "SELECT agno_arun('x')"), '42501', 'without usage, nothing');
$router->safe_psql('postgres', 'GRANT app TO carol');
is(outcome_as($router, 'carol', "SELECT agno_get_run_output('run-n1')"), '42704', 'and with that of a group, a user mapping is missing');
is(as($router, 'carol', "SET ROLE app; SELECT status FROM agno_get_run_output('run-n1')"), 'COMPLETED', 'but it can be that group');
$router->safe_psql('postgres', "ALTER USER MAPPING FOR bob SERVER n1 OPTIONS (SET password 'secret-bob')");
is(as($router, 'bob', "SELECT status FROM agno_arun('x', session_id => '$session{n1}-bob', model => 'mock:echo')"), 'PENDING', 'a password can be changed');

# Rights that a function lends
as($router, 'app', q(CREATE FUNCTION app.ask(what text) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = public
	AS $$ SELECT run_id FROM agno_arun(what, model => 'mock:echo') $$; GRANT USAGE ON SCHEMA app TO mallory; GRANT EXECUTE ON FUNCTION app.ask TO mallory));
my $lent = as($router, 'mallory', "SELECT app.ask('lent')");
is(as($router, 'app', "SELECT owner FROM agno_get_run_output('$lent')"), 'app', 'a function of SECURITY DEFINER enqueues as its owner');

# What its caller may write does not mislead it.
as($router, 'app', q(CREATE FUNCTION app.runs_of(what text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT count(*) FROM agno.runs WHERE node = what OR what = 'all' $$;
	CREATE FUNCTION app.ask_as(id text, session text) RETURNS text LANGUAGE sql SECURITY DEFINER
	AS $$ SELECT status FROM public.agno_arun('x', run_id => id, session_id => session, model => 'mock:echo') $$;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO mallory));
my $runs_of_app = as($router, 'app', 'SELECT count(*) FROM agno.runs');
foreach my $name ('n1', 'n2')
{
	my $claims = "SELECT set_config('agno_router.reachable_$name', '%s ' || statement_timestamp(), %s), ";

	is(as($router, 'mallory', sprintf($claims, 'no', $_) . "app.runs_of('all')") =~ s/.*\|//r, $runs_of_app, "$name: its caller does not hide runs from it: $_") foreach 'true', 'false';
	is(outcome_as($router, 'mallory', "SET agno_router.lost_n1 = '9'; SET agno_router.lost_n2 = '9'; SELECT app.ask_as('run-$name', '$session{$_}')"), '23505',
		"$name: nor has it enqueue a run twice: $_") foreach 'n1', 'n2';
}

#-------------------------------------------------------------------------
# Decisions
#-------------------------------------------------------------------------

as($router, 'app', q(INSERT INTO agno.tools (tool, function, requires_confirmation, approver) VALUES ('guarded', 'app.note', true, 'managers');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('guard', 'mock:tools', '{guarded}')));
$n2->poll_query_until('postgres', 'SELECT count(*) = 1 FROM agno.agents');
is(as($router, 'mallory', 'SELECT count(*) FROM agno.agents'), 0, 'agents are for those who have the rights of their owner');
foreach my $name ('n1', 'n2')
{
	call_tools($router, "guarded-$name", 'guard', [ [ [ guarded => { what => 'x' } ] ] ], role => 'app', session_id => $session{$name});
	is(as($router, 'app', "SELECT status FROM agno_wait_run('guarded-$name')"), 'PAUSED', "$name: a run waits for an approver");
	is(outcome_as($router, 'app', "SELECT agno_approve_call('guarded-$name')"), '42501', "$name: who is not its owner");
	is(outcome_as($router, 'mallory', "SELECT agno_approve_call('guarded-$name')"), '42704', "$name: nor somebody else");
	is(as($router, 'mallory', 'SELECT count(*) FROM agno.approvals'), 0, "$name: to whom it does not show");
	is(as($router, 'boss', "SELECT string_agg(run_id, ',') FROM agno.approvals WHERE node = '$name'"), "guarded-$name", "$name: the approver sees it");
	is(as($router, 'boss', "SELECT count(*) FROM agno.runs"), 0, "$name: and not the run");
	is(as($router, 'boss', "SELECT (agno_approve_call(run_id, tool_call_id, 'fine')).status FROM agno.approvals WHERE node = '$name'"), 'PENDING', "$name: and approves, of a run with an id of its owner's");
	is(as($router, 'app', "SELECT status FROM agno_wait_run('guarded-$name')"), 'COMPLETED', "$name: the run goes on");
}

#-------------------------------------------------------------------------
# What the planner knows
#-------------------------------------------------------------------------

# A superuser sees all rows, and so does what it has ANALYZE keep.
my $relations = q(c.oid IN (SELECT oid FROM pg_class WHERE relnamespace = 'agno'::regnamespace AND relkind IN ('f', 'p')
	UNION SELECT ftrelid FROM pg_foreign_table));
is(value($router, "count(*) > 20 FROM pg_class c WHERE $relations"), 't', 'relations of nodes are known');
$router->safe_psql('postgres', "SET client_min_messages = error; SELECT format('ANALYZE %s', c.oid::regclass) FROM pg_class c WHERE $relations AND c.relname !~ 'enqueue' \\gexec");
$router->safe_psql('postgres', 'SET client_min_messages = error; ANALYZE');
is(value($router, "string_agg(s.starelid::regclass || '.' || s.staattnum, ', ') FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid WHERE $relations"), '',
	'an ANALYZE of what nodes have keeps nothing');
is(value($router, "count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE $relations AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget <> 0"), 0,
	'of no column');

#-------------------------------------------------------------------------
# Who would be somebody else
#-------------------------------------------------------------------------

sub quoted { my ($string) = @_; return "E'" . $string =~ s/([\\'])/\\$1/gr . "'"; }
sub mallory { my ($sql) = @_; return outcome_as($router, 'mallory', $sql); }
my $whoami = q(SELECT agno_call_tool('agno.run_sql_query', '{"query": "SELECT current_user"}'));

is(mallory("SELECT string_agg(usename, ',') FROM pg_user_mappings WHERE umoptions IS NOT NULL AND usename <> 'mallory'"), '', 'the passwords of others are not shown');
is(mallory($_), '42501', $_)
  foreach 'INSERT INTO agno.nodes VALUES ($$evil$$, 1, 2, true)', 'UPDATE agno.nodes SET last_slot = 1', 'ALTER SERVER n1 OPTIONS (SET port $$1$$)',
  'CREATE OR REPLACE FUNCTION agno.reachable(node text) RETURNS text LANGUAGE sql AS $$SELECT NULL$$',
  'CREATE USER MAPPING FOR PUBLIC SERVER n1', 'ALTER USER MAPPING FOR app SERVER n1 OPTIONS (SET password $$x$$)', 'SELECT agno_grant_usage($$mallory$$)',
  'SELECT agno.status_at($$n1$$)', 'SELECT agno.follow_agents_at($$n1$$, $$x$$, $$y$$)', 'SELECT agno.unfollow_agents_at($$n1$$)', 'SELECT agno_router_status()',
  'CREATE FUNCTION app.x() RETURNS text LANGUAGE plproxy AS $$ CONNECT a; $$';
foreach my $mapping ([ "ALTER USER MAPPING FOR mallory SERVER n1 OPTIONS (SET user 'app')", 'another user' ],
	[ "ALTER USER MAPPING FOR mallory SERVER n1 OPTIONS (SET user '$admin')", 'a superuser' ])
{
	my ($sql, $what) = @$mapping;

	is(mallory($sql), '', "$what: a role can change its own user mapping");
	is(mallory($whoami), '[{"current_user":"mallory"}]', "$what: PL/Proxy does not mind");
	is(mallory("SELECT agno_arun('x', session_id => '$session{mallory}', model => 'mock:echo')"), '08001', "$what: nor does the node's password");
}
is(mallory("DROP USER MAPPING FOR mallory SERVER n1; CREATE USER MAPPING FOR mallory SERVER n1 OPTIONS (user '$admin')"), '', 'one without a password');
is(mallory("SELECT agno_arun('x', session_id => '$session{mallory}', model => 'mock:echo')"), '2F003', 'is refused by postgres_fdw');
is(mallory($whoami), '08006', 'and by the node');

# The node that asks for none: what the administrator allowed was to be oneself.
$router->safe_psql('postgres', "SELECT agno_revoke_usage('mallory'), agno_grant_usage('mallory')");
is(mallory("ALTER USER MAPPING FOR mallory SERVER n2 OPTIONS (SET user '$admin')"), '42501', 'a mapping that needs no password cannot become another user\'s');
is(mallory("DROP USER MAPPING FOR mallory SERVER n2; CREATE USER MAPPING FOR mallory SERVER n2 OPTIONS (user '$admin', password 'x')"), '', 'but be replaced');
is(mallory("SELECT agno_arun('x', session_id => '$session{n2}', model => 'mock:echo')"), '2F003', 'by one whose password is not asked for: refused');
is(mallory("SELECT count(*) FROM agno.runs WHERE node = 'n2'"), '2F003', 'for relations, too');
is(mallory("SELECT count(*) FROM agno_get_run_output(agno.new_id(65535))"), 0, 'and PL/Proxy connects as the role');
is(mallory("DROP USER MAPPING FOR mallory SERVER n2"), '', 'without a mapping');
is(mallory("SELECT agno_get_run_output(agno.new_id(65535))"), '42704', 'there is no way');

# Who writes a connection string: of a mapping only the password counts, and backslashes
# are backslashes however the session reads strings.
my $off = 'SET standard_conforming_strings = off;';
is(mallory("CREATE USER MAPPING FOR mallory SERVER n2 OPTIONS (password E'x\\\\', sslpassword E' host=127.0.0.1 port=" . $n1->port . " application_name=pwn options=\\\\')"), '',
	'a mapping that would end the string of its password');
foreach my $set ('', $off)
{
	like(as($router, 'mallory', "$set SELECT agno.connection('n2')"), qr/ password='x\\\\' user='mallory'$/, "$set the connection has the password as it is, and nothing else of it");
	is(mallory("$set SELECT agno.has_run_at('n2', 'x')"), 'f', "$set and it goes to the node");
}
is(mallory("ALTER USER MAPPING FOR mallory SERVER n2 OPTIONS (ADD $_ '/x')"), '42501', "$_ is for superusers") foreach qw(sslcert sslkey);
is(value($router, q(string_agg(p.oid::regprocedure::text, ',') FROM pg_extension x JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid
	JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
	WHERE x.extname = 'agno_router' AND strpos(p.prosrc, chr(92)) > 0 AND NOT 'standard_conforming_strings=on' = ANY (COALESCE(p.proconfig, '{}')))),
	'', 'every function with a backslash says how it is read');
my $odd = q(secret-it's \\ odd\\);
$_->safe_psql('postgres', 'ALTER ROLE app PASSWORD ' . quoted($odd)) foreach $n1;
$router->safe_psql('postgres', 'SELECT agno.map_user($$app$$, $$n1$$, ' . quoted($odd) . ')');
foreach my $set ('', $off)
{
	is(as($router, 'app', "$set SELECT status FROM agno_get_run_output('run-n1')"), 'COMPLETED', "$set an odd password works");
	is(outcome_as($router, 'carol', "$set SELECT agno_get_run_output('run-n1')"), '42704', "$set no mapping");
	is(outcome_as($router, 'app', "$set SELECT agno_requeue_run('run-n1')"), '55000', "$set an error of a node");
	(undef, undef, $err) = $router->psql('postgres', "$set SELECT agno_requeue_run('run-n1')", extra_params => [ '-U', 'app' ]);
	unlike($err, qr/PL\/Proxy|REMOTE/, "$set as the node says it");
}
$router->safe_psql('postgres', "SELECT agno.map_user('bob', 'n1', 'not-the-password')");
is(outcome_as($router, 'bob', "$off SELECT agno_get_run_output(agno.new_id(1))"), '08006', 'a wrong password is told as ever');

# Who watches
$router->safe_psql('postgres', 'CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher');
is(as($router, 'watcher', "SELECT string_agg(concat_ws('|', node, COALESCE(reachable::text, 'null'), problem), ',') FROM agno_router_status()"),
	'n1|null|user mapping not found for "watcher",n2|null|user mapping not found for "watcher"', 'a monitor without a mapping does not know whether nodes can be reached');

# Default privileges give nothing, neither on what the extension makes nor on what is made for a node.
$router->safe_psql('postgres', 'CREATE DATABASE given; CREATE ROLE given');
$router->safe_psql('given', 'SET client_min_messages = error; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO given, PUBLIC; ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO given; CREATE EXTENSION agno_router CASCADE');
$router->safe_psql('given', 'SET client_min_messages = error; SELECT agno_router_add_node($$n1$$, $$' . $tcp . " password='secret-admin'\$\$)");
is($router->safe_psql('given', q(SELECT string_agg(DISTINCT p, ' ') FROM pg_class c, unnest('{SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER}'::text[]) p
	WHERE c.relnamespace IN ('agno'::regnamespace, 'agno_n1'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'f') AND has_table_privilege('given', c.oid, p))), 'SELECT', 'default privileges give no more than PUBLIC has');

is($router->safe_psql('given', q(SELECT has_schema_privilege('given', 'agno', 'CREATE'))), 'f', 'nor a place for functions');

is(logged($_, qr/secret-/), 0, 'no password is in the log of ' . $_->name) foreach $router, $n1, $n2;

$_->stop foreach $router, $n1, $n2;
done_testing();
