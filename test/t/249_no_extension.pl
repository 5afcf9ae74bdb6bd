# The extension is dropped while a tool of a superuser is called, and whoever may create
# schemas in that database makes tables of the same names: no worker takes them for ours,
# and none is started for them again and again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => 'log_min_messages = debug1');
my $url = start_mock('mock');
$node->safe_psql('postgres', 'CREATE ROLE app; CREATE DATABASE dx OWNER app');
$node->safe_psql('dx', qq(
	CREATE EXTENSION agno_bg;
	CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', base_url '$url');
	CREATE FUNCTION waits() RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_advisory_xact_lock_shared(249); RETURN 'done'; END \$\$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{waits}')));
my $holder = $node->background_psql('dx');
$holder->query_safe('SELECT pg_advisory_lock(249)');
$node->safe_psql('dx', q(SELECT run_id FROM agno_arun('{"calls": [[{"name": "waits", "arguments": {}}]]}', agent_id => 'a')));
ok($node->poll_query_until('dx', q(SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted))), 'a tool is called');

my $before = -s $node->logfile;
$node->safe_psql('dx', q(
	BEGIN;
	DROP EXTENSION agno_bg CASCADE;
	SET ROLE app;
	CREATE SCHEMA agno;
	CREATE TABLE agno.runs (run_id text);
	CREATE TABLE agno.base AS SELECT 1 AS x;
	CREATE TABLE agno.trap (x int);
	CREATE FUNCTION agno.pwn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'trapped: %', current_user; ALTER ROLE app SUPERUSER; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON agno.trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION agno.pwn();
	CREATE FUNCTION agno.fire(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'fired: %', current_user; INSERT INTO agno.trap VALUES (1); RETURN false; END $$;
	CREATE VIEW agno.tool_queue AS SELECT 'x'::text AS run_id, 1 AS turn, 1 AS attempt, 1::smallint AS shard, now() + '1 day' AS deadline,
		now() - interval '1 day' AS queued_at, 10::oid::regrole AS owner, 0 AS holder FROM agno.base b WHERE agno.fire(b.x);
	COMMIT));

# The one that was interrupted has exited, and one that was to follow it.
wait_until('the next worker', sub { return 1 < (() = slurp_file($node->logfile, $before) =~ /agno_bg tool worker.* exited/g); });
my $log = slurp_file($node->logfile, $before);
unlike($log, qr/fired|trapped/, 'nothing of the other tables is executed');
is((() = $log =~ /agno_bg tool worker.* exited with exit code [1-9]/g), 1, 'and no worker fails but the one that called the tool');
is($node->safe_psql('postgres', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'app')), 'f', 'nobody has become superuser');

# Where there is an extension, all is as before.
$node->safe_psql('dx', qq(DROP SCHEMA agno CASCADE; CREATE EXTENSION agno_bg;
	CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', base_url '$url');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{waits}')));
$holder->query_safe('SELECT pg_advisory_unlock(249)');
like($node->safe_psql('dx', q(CALL agno_run('{"calls": [[{"name": "waits", "arguments": {}}]]}', agent_id => 'a'))), qr/COMPLETED/, 'it works when it is there again');
$holder->quit;

# Nor where the schema has another name, and a runner comes anew.
$node->safe_psql('dx', 'ALTER SCHEMA agno RENAME TO agno_old');
$node->safe_psql('dx', q(
	SET ROLE app;
	CREATE SCHEMA agno;
	CREATE FUNCTION agno.fire() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'fired: %', current_user; ALTER ROLE app SUPERUSER; RETURN true; END $$;
	DO $$ DECLARE t record; BEGIN
		FOR t IN SELECT c.relname, string_agg(format('NULL::%s AS %I', format_type(a.atttypid, a.atttypmod), a.attname), ', ' ORDER BY a.attnum) AS nulls,
				string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) AS columns
			FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			WHERE c.relnamespace = 'agno_old'::regnamespace AND c.relkind = 'r' AND c.relname <> 'runs' GROUP BY 1 LOOP
			IF t.relname = 'queue_check' THEN EXECUTE format('CREATE VIEW agno.%I AS SELECT %s FROM (SELECT 1 WHERE agno.fire()) x', t.relname, t.nulls);
			ELSE EXECUTE format('CREATE TABLE agno.%I (%s)', t.relname, t.columns); END IF;
		END LOOP; END $$));
$before = -s $node->logfile;
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'dx' AND backend_type = 'agno_bg runner'));
$node->wait_for_log(qr/agno_bg runner ERROR: |fired: /, $before);
like(slurp_file($node->logfile, $before), qr/HINT:  The tables of the extension belong to it/, 'the log says why');
unlike(slurp_file($node->logfile, $before), qr/fired/, 'a runner does not execute them');
is($node->safe_psql('postgres', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'app')), 'f', 'nobody has become superuser');
$node->safe_psql('dx', 'DROP SCHEMA agno CASCADE; ALTER SCHEMA agno_old RENAME TO agno');
like($node->safe_psql('dx', q(CALL agno_run('hello', model => 'mock:echo'))), qr/COMPLETED/, 'it works when it has its name again');

$node->stop;
done_testing();
