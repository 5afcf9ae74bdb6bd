# Runs are executed after ENABLE TRIGGER ALL on agno_bg's tables, by which a restore with
# --disable-triggers ends: it makes ordinary triggers of those that are for replicas.
# Faults injected: that command, for all of the tables.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
$node->safe_psql('postgres', q{
	DO $$ DECLARE name regclass; BEGIN
		FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'agno'::regnamespace AND relkind = 'r' LOOP
			EXECUTE 'ALTER TABLE ' || name || ' ENABLE TRIGGER ALL';
		END LOOP;
	END $$;
	CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1';
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('one', 'mock:tools', '{one}')});

enqueue('plain', 'echo');
is(wait_run('plain'), 'COMPLETED', 'a run');
$node->safe_psql('postgres', q{SELECT agno_arun('{"id": "tools", "calls": [[{"name": "one", "arguments": {}}]]}', 'one', run_id => 'tools')});
is(wait_run('tools'), 'COMPLETED', 'one that calls a tool');
is(value("status FROM agno.tool_calls WHERE run_id = 'tools'"), 'completed', 'which is executed');
enqueue('hangs', 'hang', input => 'x');
wait_for_request('x');
$node->safe_psql('postgres', "SELECT agno_cancel_run('hangs')");
is(wait_run('hangs'), 'CANCELLED', 'and a cancel');

done_testing();
