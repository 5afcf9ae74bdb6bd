# Retention executes nothing that a role has defined: triggers of a table that
# cascades from agno.runs would be executed with the rights of the runner, so
# nothing is deleted while there are such, and the log says so once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
add_mock_server($node, start_mock('mock'));
$node->safe_psql(
	'postgres', q(
	CREATE ROLE b LOGIN;
	SELECT agno_grant_usage('b');
	GRANT REFERENCES ON agno.runs TO b;
	CREATE SCHEMA b AUTHORIZATION b));
$node->safe_psql('postgres', "CALL agno_run('x', model => 'mock:echo')",
	extra_params => [ '-U', 'b' ]);
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION b.grab() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF current_user <> 'b' THEN
			EXECUTE 'ALTER ROLE b SUPERUSER';
		END IF;
		RETURN NULL;
	END $$;
	CREATE TABLE b.answers (run_id text REFERENCES agno.runs ON DELETE CASCADE);
	INSERT INTO b.answers SELECT run_id FROM agno.runs;
	CREATE TRIGGER grab AFTER DELETE ON b.answers
		FOR EACH ROW EXECUTE FUNCTION b.grab()),
	extra_params => [ '-U', 'b' ]);

$node->append_conf('postgresql.conf', "agno_bg.retention = '1s'");
$node->reload;
wait_until('the line in the log', sub {
	slurp_file($node->logfile) =~ /retention deletes nothing: table b\.answers/ });
is($node->safe_psql('postgres', "SELECT rolsuper FROM pg_roles WHERE rolname = 'b'"),
	'f', 'the trigger has not been executed');
is($node->safe_psql('postgres', 'SELECT count(*) FROM agno.runs'),
	1, 'the run is kept');
$node->safe_psql('postgres', 'DROP TRIGGER grab ON b.answers',
	extra_params => [ '-U', 'b' ]);
ok( $node->poll_query_until('postgres',
		'SELECT NOT EXISTS (SELECT FROM agno.runs)'),
	'without the trigger, it is deleted');
is($node->safe_psql('postgres', 'SELECT count(*) FROM b.answers'),
	0, 'and what cascades from it');

$node->stop;
done_testing();
