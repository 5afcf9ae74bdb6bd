# Retention executes nothing that a role has defined, with or without triggers: a
# foreign key with an action evaluates constraints and more of the referencing
# table, and even one without may have an expression evaluated. The fault is a
# role that may refer to runs, and leaves a setting behind in the runner.

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
	CREATE SCHEMA evil AUTHORIZATION b));
as('b', q(
	CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz
	LANGUAGE plpgsql AS $$
	BEGIN
		IF current_user <> 'b' THEN
			EXECUTE 'ALTER ROLE b SUPERUSER';
		END IF;
		RETURN pg_catalog.clock_timestamp();
	END $$;
	CREATE FUNCTION evil.f(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF session_user <> 'b' THEN
			RAISE LOG 'sprung by %', session_user;
			PERFORM set_config('search_path', 'evil, pg_catalog', false);
		END IF;
		RETURN true;
	END $$;
	CREATE TYPE evil.id AS ENUM ('v');
	CREATE FUNCTION evil.text_of(evil.id) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM evil.f('v');
		RETURN 'v';
	END $$;
	CREATE CAST (evil.id AS text) WITH FUNCTION evil.text_of AS IMPLICIT));

# A run, with another one that nobody refers to.
sub two_runs
{
	configure(retention => 0);
	$node->poll_query_until('postgres',
		"SELECT current_setting('agno_bg.retention') = '0'");
	$node->safe_psql('postgres', q(
		SELECT agno_arun('x', model => 'mock:echo', run_id => id)
		FROM unnest('{v,w}'::text[]) id));
	wait_run('v');
	wait_run('w');
}

# With this table of b's, which refers to the run v, nothing is executed or
# deleted. It stays until the next one is there.
my $last;

sub nothing_for
{
	my ($what, $table, $sql, $reason) = @_;

	as('b', "CREATE TABLE evil.$table $sql; INSERT INTO evil.$table VALUES ('v')");
	as('b', "DROP TABLE evil.$last") if $last;
	$last = $table;
	configure(retention => '1s');
	wait_until("a line in the log for $what", sub {
		logged(qr/retention deletes nothing: table evil\.$table .*, has $reason,/) });
	is(value('count(*) FROM agno.runs'), 2, "nothing is deleted for $what");
	is(logged(qr/sprung/), 0, "nothing is executed for $what");
	is(value("rolsuper FROM pg_roles WHERE rolname = 'b'"),
		'f', "nobody is a superuser for $what");
}

$node->safe_psql(
	'postgres', q(
	CREATE TABLE answers (run_id text PRIMARY KEY
		REFERENCES agno.runs ON DELETE CASCADE);
	GRANT REFERENCES ON answers TO b));
two_runs();
$node->safe_psql('postgres', q(INSERT INTO answers VALUES ('v')));
nothing_for('an action that evaluates a constraint', 'checked',
	'(run_id text REFERENCES agno.runs ON DELETE SET NULL, CHECK (evil.f(run_id)))',
	'a foreign key with an action');
nothing_for('an action that evaluates an index', 'indexed',
	"(run_id text REFERENCES agno.runs ON DELETE SET DEFAULT);
		CREATE INDEX ON evil.indexed ((evil.f(run_id)))",
	'a foreign key with an action');
nothing_for("an action by way of a superuser's table", 'indirect',
	'(run_id text REFERENCES answers ON DELETE SET NULL, CHECK (evil.f(run_id)))',
	'a foreign key with an action');
# (From 18 on, there is no foreign key of a type without collations to text.)
nothing_for('a cast', 'enumerated',
	'(run_id evil.id REFERENCES agno.runs)',
	'a foreign key of a type of its own')
  if value(q(current_setting('server_version_num')::integer)) < 180000;
nothing_for('an expression that is constant', 'constant',
	"(run_id text REFERENCES agno.runs);
		CREATE INDEX ON evil.constant ((evil.f('v')))",
	'indexes or statistics with expressions');
as('b', 'DROP TABLE evil.constant');
ok( $node->poll_query_until('postgres',
		'SELECT NOT EXISTS (SELECT FROM agno.runs)'),
	'the runs are deleted without such tables');
is(value('count(*) FROM answers'), 0, "an action in a superuser's table is taken");

# What a superuser has defined leaves no setting behind, either.
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE LOG 'mark: %', coalesce(current_setting('my.mark', true), '');
		PERFORM set_config('my.mark', 'left behind', false);
		RETURN NULL;
	END $$;
	CREATE TRIGGER mark AFTER DELETE ON answers EXECUTE FUNCTION mark()));
foreach (1 .. 2)
{
	two_runs();
	$node->safe_psql('postgres', q(INSERT INTO answers VALUES ('v')));
	configure(retention => '1s');
	$node->poll_query_until('postgres',
		'SELECT NOT EXISTS (SELECT FROM agno.runs)');
}
cmp_ok(logged(qr/mark: /), '>=', 2, "a trigger of a superuser's table is executed");
is(logged(qr/mark: left behind/), 0, 'and leaves no setting behind');

# A foreign key that only looks does no harm.
two_runs();
as('b', q(
	CREATE TABLE evil.plain (run_id text REFERENCES agno.runs);
	CREATE INDEX ON evil.plain (run_id);
	INSERT INTO evil.plain VALUES ('v')));
configure(retention => '1s');
ok( $node->poll_query_until('postgres',
		"SELECT string_agg(run_id, ' ') = 'v' FROM agno.runs"),
	'a foreign key without an action keeps the runs that it refers to');

$node->stop;
done_testing();
