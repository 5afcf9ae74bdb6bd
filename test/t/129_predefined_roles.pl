# What a DBA hands out for all tables ends at the tables that are agno_bg's own: a member
# of pg_read_all_data reads nothing of others' runs, one of pg_write_all_data puts nothing
# into a run of a superuser, and default privileges open none.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', no_extension => 1);
$node->safe_psql('postgres', q(
	CREATE ROLE reports LOGIN; CREATE ROLE writer LOGIN; CREATE ROLE given LOGIN;
	GRANT pg_read_all_data TO reports; GRANT pg_write_all_data, pg_read_all_data TO writer;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO given;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO given;
	CREATE EXTENSION agno_bg));
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q(
	CREATE FUNCTION look() RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'x' $$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('agent', 'mock:tools', '{public.look}');
	SELECT agno_arun('{"calls": []}', 'agent', run_id => 'later', run_at => 'infinity')));
my @tables = qw(run_requests run_queue queue_check run_signals run_steps tool_queue callbacks);
foreach my $role (qw(reports writer given))
{
	is(as($role, join(';', map { "SELECT count(*) FROM agno.$_" } @tables)), join("\n", (0) x @tables), "$role sees no row of others");
	is(as($role, 'SELECT count(*) FROM agno.runs'), 0, "$role sees no run of others");
}
foreach my $role (qw(writer given))
{
	is(as($role, q(UPDATE agno.run_requests SET tools = '[]'; UPDATE agno.run_queue SET run_at = now(); DELETE FROM agno.run_queue)), '', "$role changes");
	is(outcome_as($role, q(INSERT INTO agno.run_signals (run_id, owner, kind, shard) VALUES ('later', 10, 'c', 0))), '42501', "$role sends no signals");
	is(outcome_as($role, q(INSERT INTO agno.callbacks (run_id, owner, function, status, shard, queued_at) VALUES ('later', 10, 'pg_reload_conf()', 'ERROR', 0, now()))), '42501', "$role has nothing called");
}
is(value(q(count(*) || ' ' || (SELECT tools ->> 0 LIKE '%look%' FROM agno.run_requests) FROM agno.run_queue WHERE run_at = 'infinity')), '1 true', 'nothing');
is(value(q(has_schema_privilege('given', 'agno', 'CREATE'))), 'f', 'default privileges give no place for functions');
is(value(q(string_agg(DISTINCT p, ' ') FROM pg_class c, unnest('{SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER}'::text[]) p
	WHERE c.relnamespace = 'agno'::regnamespace AND c.relkind IN ('r', 'v') AND has_table_privilege('given', c.oid, p))), 'DELETE INSERT SELECT UPDATE', 'default privileges give no rights of the owner');
is(value(q(string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c WHERE c.relnamespace = 'agno'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity)), 'prices',
	'every table but that of the prices has row-level security');
$node->stop;
done_testing();
