# What a superuser calls on one of several servers executes nothing that other roles
# have defined: agno.keep_slots deletes nothing while a table of theirs refers to runs,
# agno.publish_agents takes no publication of theirs for its own. A server that receives
# agents accepts none of its own, and a failed agno.follow_agents logs no password. No role
# keeps agents from being published by a tool whose approver is no role.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "wal_level = logical\nagno_bg.paused = on\nagno_bg.max_tool_workers = 0\nagno_bg.slots = '7-7'\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(CREATE SCHEMA app AUTHORIZATION app; GRANT REFERENCES ON agno.runs TO app; GRANT CREATE ON DATABASE postgres TO app));

# A deferred trigger of a cascade
as('app', q{
	CREATE TABLE app.t (run_id text REFERENCES agno.runs ON DELETE CASCADE);
	CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN ALTER ROLE app SUPERUSER; END IF; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER t AFTER DELETE ON app.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.f();});
enqueue('run', 'echo', role => 'app');
is(outcome_as('postgres', "SELECT agno.keep_slots($_)"), '22023', "sessions of slots that are to stay are not deleted: keep_slots($_)") foreach '0, 6', '7, 8', 'NULL, 7';
as('app', q(INSERT INTO app.t VALUES ('run')));
is(outcome_as('postgres', 'SELECT agno.keep_slots(7, 7)'), '55000', 'a table that refers to runs is in the way of keep_slots');
is(value(q(rolsuper FROM pg_roles WHERE rolname = 'app')), 'f', 'its trigger is not executed by a superuser');
as('app', 'DROP TABLE app.t');
is($node->safe_psql('postgres', 'SELECT agno.keep_slots(7, 7)'), '1', 'without it, what is elsewhere is deleted');

# An approver who never was, or is no more
sub tool { my ($name, $approver) = @_; return "INSERT INTO agno.tools (tool, external_execution, approver) VALUES ('$name', true, $approver)"; }
foreach my $role ('app', 'postgres')
{
	is(outcome_as($role, tool('t', "'$_'")), '42704', "$role: no role is no approver: $_") foreach '999999', '-';
	is(outcome_as($role, 'SET check_function_bodies = off; ' . tool('of_dump', "'999999'")), $role eq 'app' ? '42704' : '', "$role: as a dump is restored");
}
as('app', tool($_, 'NULL')) foreach 'own', 'kept';
is(outcome_as('app', q(UPDATE agno.tools SET approver = '999999' WHERE tool = 'own')), '42704', 'nor is one made one later');
is(outcome_as('app', q(UPDATE agno.tools SET approver = 'app' WHERE tool = 'own')), '', 'as a role is');
$node->safe_psql('postgres', q(CREATE ROLE gone; UPDATE agno.tools SET approver = 'gone' WHERE tool = 'kept'; DROP ROLE gone));
is(outcome_as('app', q(UPDATE agno.tools SET description = 'x' WHERE tool = 'kept')), '', 'what was one does not hinder what is written');
is(outcome_as('postgres', 'SELECT agno.publish_agents()'), '55000', 'but what is published');
$node->safe_psql('postgres', 'DELETE FROM agno.tools');

# A publication of somebody else's
as('app', 'CREATE TABLE app.p (i integer PRIMARY KEY); CREATE PUBLICATION agno_router FOR TABLE app.p');
is(outcome_as('postgres', q(SELECT agno.publish_agents('agno_n2'))), '55000', "another role's publication is not taken for that of agno_bg");
as('app', 'DROP PUBLICATION agno_router');
is(outcome_as('postgres', q(SELECT agno.publish_agents('agno_n2'))), '55000', 'a publication is committed before there is a slot');
is($node->safe_psql('postgres', q(SELECT agno.publish_agents())), 't', 'then');
is($node->safe_psql('postgres', q(SELECT agno.publish_agents('agno_n2'))), 't', 'agents are published');
is($node->safe_psql('postgres', q(SELECT agno.publish_agents('agno_n3'))), 't', 'to several servers');
$node->safe_psql('postgres', q(ALTER PUBLICATION agno_router ADD TABLE app.p));
is(outcome_as('postgres', q(SELECT agno.publish_agents('agno_n4'))), '55000', 'but nothing else with them');
$node->safe_psql('postgres', q(DROP PUBLICATION agno_router; SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots));

# A server that cannot be reached
$node->safe_psql('postgres', q(CREATE TABLE connection AS SELECT 'host=127.0.0.1 port=1 user=x password=sesame'::text AS c));
isnt(outcome_as('postgres', q(SELECT agno.follow_agents(c, 'agno_n2') FROM connection)), '', 'a first node that is not there');
is(logged(qr/sesame/), 0, 'costs no password');

# Agents on a server that receives them
as('app', q(INSERT INTO agno.agents (agent_id, model) VALUES ('before', 'mock:echo')));
$node->safe_psql('postgres', q(SET client_min_messages = error;
	CREATE SUBSCRIPTION agno_router CONNECTION 'dbname=postgres' PUBLICATION agno_router WITH (connect = false)));
is(outcome_as('app', $_), '55000', "refused where agents are received: $_")
  foreach q(INSERT INTO agno.agents (agent_id, model) VALUES ('own', 'mock:echo')), q(UPDATE agno.agents SET model = 'mock:echo'),
  q(DELETE FROM agno.agents), q(INSERT INTO agno.tools (tool, external_execution) VALUES ('t', true));
$node->safe_psql('postgres', q(ALTER SUBSCRIPTION agno_router SET (slot_name = NONE); DROP SUBSCRIPTION agno_router));
is(outcome_as('app', q(DELETE FROM agno.agents)), '', 'and accepted elsewhere');

done_testing();
