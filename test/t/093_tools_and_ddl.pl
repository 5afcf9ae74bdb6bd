# Commands on databases, roles and the extension do not wait for tools that are being
# called, and no tool worker comes back before they are done. What was called is undone,
# and called again if there is still somebody to.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.tool_timeout = '1h'\nmax_worker_processes = 40\nclient_min_messages = error\n");
my $url = start_mock('mock');
make_user('app');
my $count = 0;
my $database;

# A database with a role's tool that is being called. The first call of it takes an
# hour, the next one no time: a sequence is not undone.
sub busy_database
{
	my ($role) = @_;

	$database = 'busy' . ++$count;
	new_database($database, $url);
	$node->safe_psql($database, qq{
		SELECT agno_grant_usage('$role');
		CREATE SEQUENCE tries; GRANT ALL ON tries TO $role;
		CREATE TABLE done (run_id text); ALTER TABLE done OWNER TO $role;
		CREATE FUNCTION slow() RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN
			INSERT INTO done VALUES ('x');
			IF nextval('tries') = 1 THEN PERFORM pg_sleep(3600); END IF; RETURN 'well'; END \$\$;
		INSERT INTO agno.agents (agent_id, model, tools, owner) VALUES ('a', 'mock:tools', '{public.slow}', '$role')});
	call_tools('run', 'a', [ [ ['slow'] ] ], role => $role, database => $database);
	$node->poll_query_until($database, 'SELECT is_called FROM tries');
}
sub at_once
{
	my ($in, $command, $name) = @_;
	my $start = time;
	my (undef, undef, $err) = $node->psql($in, $command);

	is($err, '', $name);
	cmp_ok(time - $start, '<', 10, 'at once');
}
sub goes_on
{
	my ($in, $name) = @_;
	expect_run('run', { status => 'COMPLETED', content => 'Results: well', attempt => 1 }, $name, database => $in);
	is(value('count(*) FROM done', $in), 1, 'and its effect is there once');
}

busy_database('app');
at_once('postgres', "ALTER DATABASE $database RENAME TO renamed", 'ALTER DATABASE … RENAME');
goes_on('renamed', 'the tool is called again under the new name');
busy_database('app');
at_once('postgres', "CREATE DATABASE copied TEMPLATE $database", 'CREATE DATABASE … TEMPLATE');
goes_on($database, 'the tool is called again in the template');
busy_database('app');
at_once('postgres', "DROP DATABASE $database", 'DROP DATABASE');

busy_database('app');
at_once($database, 'ALTER EXTENSION agno_bg UPDATE', 'ALTER EXTENSION … UPDATE');
goes_on($database, 'the tool is called again');
busy_database('app');
my (undef, undef, $err) = $node->psql($database, 'CREATE FUNCTION mine() RETURNS agno.runs LANGUAGE sql AS $$ SELECT r.* FROM agno.runs r $$; DROP EXTENSION agno_bg');
like($err, qr/cannot drop extension agno_bg/, 'a DROP EXTENSION that fails');
goes_on($database, 'after it, the tool is called again');
busy_database('app');
at_once($database, 'DROP EXTENSION agno_bg CASCADE', 'DROP EXTENSION … CASCADE');
busy_database('app');
at_once($database, 'DROP SCHEMA public CASCADE', 'DROP SCHEMA … CASCADE of the schema that it is in');

# Roles
make_user('gone');
busy_database('gone');
at_once($database, 'REASSIGN OWNED BY gone TO app', 'REASSIGN OWNED of what the tool has locked');
make_user('dropped');
busy_database('dropped');
at_once($database, 'DROP OWNED BY dropped', 'DROP OWNED of what the tool has locked');
at_once('postgres', 'DROP OWNED BY dropped; DROP ROLE dropped', 'DROP ROLE');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
	WHERE a.backend_type = 'agno_bg tool worker' AND r.oid IS NULL"), 'and no process is connected as that role');
done_testing();
