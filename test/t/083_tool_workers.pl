# The processes that call tools: at most agno_bg.max_tool_workers, which roles and
# databases share in turns; they go home when they have nothing to do, and for DROP
# DATABASE, DROP EXTENSION and DROP ROLE. Without a process to be had, runs wait.
# Waits: for tools that nap.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.max_tool_workers = 3\n");
my $url = start_mock('mock');
add_mock_server($url);
my @roles = map { "role$_" } 1 .. 5;
make_user(@roles);
my $setup = q{CREATE FUNCTION nap(seconds float8) RETURNS text LANGUAGE sql AS $$
	SELECT session_user || coalesce(pg_sleep(seconds)::text, '') $$};
$node->safe_psql('postgres', $setup);
as($_, qq(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('$_', 'mock:tools', '{public.nap}'))) foreach @roles;

# A role with very many calls, and others that come later with one each
call_tools("busy-$_", 'role1', [ [ [ nap => { seconds => 0.3 } ] ] ], role => 'role1') foreach 1 .. 100;
$node->poll_query_until('postgres', q(SELECT count(*) = 2 FROM agno.workers WHERE state = 'busy'));
my $start = time;
call_tools("late-$_", $_, [ [ [ nap => { seconds => 0 } ] ] ], role => $_) foreach @roles[ 1 .. 4 ];
expect_run("late-$_", { status => 'COMPLETED', content => "Results: $_" }, "$_ gets its turn, as itself") foreach @roles[ 1 .. 4 ];
cmp_ok(time - $start, '<', 4, 'roles take turns');
cmp_ok(value(q(count(*) FROM agno.runs WHERE run_id LIKE 'busy-%' AND status IN ('PENDING', 'RUNNING'))), '>', 20, 'while the first has work left');
is(value(q(count(*) <= 3 FROM agno.workers WHERE kind = 'tool worker')), 't', 'there are no more processes than allowed');
$node->safe_psql('postgres', q(SELECT agno_cancel_run(run_id) FROM agno.runs WHERE run_id LIKE 'busy-%'));
is(value(q(count(*) FROM pg_stat_activity WHERE backend_type = 'agno_bg tool worker' AND usename IS NULL)), 0,
	'pg_stat_activity shows whose they are');

# Commands that want them gone
new_database('other', $url);
$node->safe_psql('other', "$setup; INSERT INTO agno.agents (agent_id, model, tools, owner) VALUES ('x', 'mock:tools', '{public.nap}', 'role1');"
	  . "SELECT agno_grant_usage('role1')");
call_tools('other', 'x', [ [ [ nap => { seconds => 100 } ] ] ], role => 'role1', database => 'other');
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM agno.workers WHERE database = 'other' AND state = 'busy'));
$start = time;
$node->safe_psql('postgres', 'DROP DATABASE other');
cmp_ok(time - $start, '<', 10, 'DROP DATABASE does not wait for a tool');
call_tools('role', 'role5', [ [ [ nap => { seconds => 100 } ] ] ], role => 'role5');
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM agno.workers WHERE role = 'role5' AND state = 'busy'));
$node->safe_psql('postgres', q(SELECT agno_cancel_run('role'); DELETE FROM agno.agents WHERE agent_id = 'role5';
	DROP OWNED BY role5; DROP ROLE role5));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
	WHERE a.backend_type = 'agno_bg tool worker' AND r.oid IS NULL)), 'DROP ROLE sends its workers home');
call_tools('ext', 'role2', [ [ [ nap => { seconds => 100 } ] ] ], role => 'role2');
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM agno.workers WHERE role = 'role2' AND state = 'busy'));
$node->safe_psql('postgres', 'DROP EXTENSION agno_bg CASCADE');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'agno_bg tool worker')),
	'DROP EXTENSION sends them home');

# No process left
$node->append_conf('postgresql.conf', "max_worker_processes = 2\nmax_logical_replication_workers = 0");
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION agno_bg');
add_mock_server($url);
$node->safe_psql('postgres', q(SELECT agno_grant_usage('role1')));
as('role1', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('role1', 'mock:tools', '{public.nap}')));
call_tools('waits', 'role1', [ [ [ nap => { seconds => 0 } ] ] ], role => 'role1');
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM agno.tool_queue));
wait_until('the line in the log', sub { logged('no process left for an agno_bg tool worker') });
is(run_status('waits'), 'RUNNING', 'without a process, the run waits');
sleep(3);
is(logged('no process left for an agno_bg tool worker'), 1, 'which is logged once');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
is(wait_run('waits'), 'COMPLETED', 'until there is one');

done_testing();
