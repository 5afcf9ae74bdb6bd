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
add_mock_server(start_mock('mock'));
make_user('b');
$node->safe_psql(
	'postgres', q(
	GRANT REFERENCES ON agno.runs TO b;
	CREATE SCHEMA b AUTHORIZATION b));
as('b', "CALL agno_run('x', model => 'mock:echo')");
as('b', q(
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
		FOR EACH ROW EXECUTE FUNCTION b.grab()));

configure(retention => '1s');
wait_until('the line in the log', sub {
	logged(qr/retention deletes nothing: table b\.answers/) });
is(value("rolsuper FROM pg_roles WHERE rolname = 'b'"),
	'f', 'the trigger has not been executed');
is(value('count(*) FROM agno.runs'),
	1, 'a run with a foreign trigger on its cascade is kept');
as('b', 'DROP TRIGGER grab ON b.answers');
$node->safe_psql('postgres', 'ALTER TABLE b.answers OWNER TO postgres');
ok( $node->poll_query_until('postgres',
		'SELECT NOT EXISTS (SELECT FROM agno.runs)'),
	'the run is deleted when a superuser owns the table');
is(value('count(*) FROM b.answers'),
	0, 'what refers to the run is deleted with it');

$node->stop;
done_testing();
