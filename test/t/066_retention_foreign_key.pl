# agno_bg.retention where tables of others refer to runs: what is referred to
# stays, or goes with ON DELETE; everything else is deleted, new runs are
# executed at once, and the log says so once. The fault is a foreign key that
# refuses the deletion, at once or at the commit.
# Waits: for retention, which comes round now and then.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
add_mock_server(start_mock('mock'));

# Execute a run, and see that nothing keeps it waiting.
sub innocent
{
	my ($when) = @_;
	my $start = time;
	my ($ret, $said, $err) = $node->psql('postgres',
		"SET statement_timeout = '10s'; CALL agno_run('innocent', model => 'mock:echo')");
	my $took = time - $start;

	return like($said, qr/\|COMPLETED\|You said: innocent$/,
		"$when: a run is executed") & cmp_ok($took, '<', 5, "$when: at once");
}

# Wait until all runs are deleted but these.
sub kept
{
	my ($runs, $what) = @_;
	return ok( $node->poll_query_until('postgres', qq(
			SELECT coalesce(string_agg(run_id, ' ' ORDER BY run_id), '') = '$runs'
			FROM agno.runs)),
		$what);
}

# Several sweeps: each deletes a run that has just ended.
sub sweeps
{
	my ($when, $runs) = @_;
	foreach my $i (1 .. 3)
	{
		innocent("$when, $i") & kept($runs, "$when, $i: it is deleted") or last;
	}
}

$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 1200) i,
		agno_arun('x' || i, model => 'mock:echo', run_id => 'x' || i);
	SELECT count(*) FROM unnest('{answered,cascaded,deferred,forgotten}'::text[]) id,
		agno_arun(id, model => 'mock:echo', stream => true, run_id => id,
			session_id => id)));
$node->poll_query_until('postgres',
	"SELECT count(*) = 1204 FROM agno.runs WHERE status = 'COMPLETED'");
$node->safe_psql('postgres', q(
	CREATE TABLE answers (run_id text REFERENCES agno.runs);
	CREATE TABLE copies (run_id text REFERENCES agno.runs ON DELETE CASCADE);
	CREATE TABLE notes (run_id text REFERENCES agno.runs ON DELETE SET NULL);
	INSERT INTO answers VALUES ('answered');
	INSERT INTO copies VALUES ('cascaded');
	INSERT INTO notes VALUES ('forgotten')));

# One that refuses at once, between others
$node->safe_psql('postgres', q(
	CREATE TABLE reviews (run_id text
		REFERENCES agno.runs DEFERRABLE INITIALLY DEFERRED);
	INSERT INTO reviews VALUES ('deferred');
	ALTER SYSTEM SET agno_bg.retention = '1s'));
$node->reload;
innocent('as it begins');
kept('answered deferred', 'what nobody refers to is deleted');
is(value('(SELECT count(*) FROM copies),
		(SELECT count(*) FROM notes WHERE run_id IS NULL)'),
	'0|1', 'and with ON DELETE, what refers to it follows');
is( $node->safe_psql('postgres', q(SELECT
		(SELECT string_agg(session_id, ' ' ORDER BY session_id) FROM agno.sessions),
		(SELECT string_agg(DISTINCT run_id, ' ' ORDER BY run_id) FROM agno.run_events),
		(SELECT string_agg(run_id, ' ' ORDER BY run_id) FROM agno.run_requests))),
	'answered deferred|answered deferred|answered deferred',
	'what stays has its session, its events and its request');
sweeps('later', 'answered deferred');
is(logged('"answers_run_id_fkey"'), 1, 'the log names the constraint once');
cmp_ok(logged('"reviews_run_id_fkey"'),
	'<=', 1, 'and the other not more often');
cmp_ok(logged('agno_bg runner (ERROR|LOG|WARNING)'),
	'<=', 2, 'there is no line for each sweep');
is(value("status, content FROM agno_get_run_output('deferred')"),
	'COMPLETED|You said: deferred', 'what stays can be read');

# Nobody refers to it any more.
$node->safe_psql('postgres', 'DELETE FROM answers; DELETE FROM reviews');
kept('', 'a run that nobody refers to any more is deleted');
is(value('count(*) FROM agno.sessions'),
	0, 'with its session');

# Only one that refuses at the commit
$node->safe_psql('postgres', q(
	CALL agno_run('x', model => 'mock:echo', run_id => 'again')));
$node->safe_psql('postgres', q(
	ALTER SYSTEM SET agno_bg.retention = 0;
	SELECT pg_reload_conf()));
$node->safe_psql('postgres', q(
	CALL agno_run('x', model => 'mock:echo', run_id => 'deferred')));
$node->safe_psql('postgres', q(
	INSERT INTO reviews VALUES ('deferred');
	ALTER SYSTEM SET agno_bg.retention = '1s';
	SELECT pg_reload_conf()));
sweeps('at the commit', 'deferred');
$node->safe_psql('postgres', 'DELETE FROM reviews');
kept('', 'until nobody refers to it');

# The same with a table that refers to sessions, or to events
$node->safe_psql('postgres', q(
	ALTER SYSTEM SET agno_bg.retention = 0;
	SELECT pg_reload_conf()));
$node->safe_psql('postgres',
	q(CALL agno_run('x', model => 'mock:echo', session_id => 'talk')));
$node->safe_psql('postgres', q(
	CREATE TABLE talks (session_id text REFERENCES agno.sessions);
	INSERT INTO talks VALUES ('talk');
	ALTER SYSTEM SET agno_bg.retention = '1s';
	SELECT pg_reload_conf()));
innocent('a session');
ok( $node->poll_query_until('postgres',
		q(SELECT string_agg(session_id, ' ') = 'talk' FROM agno.sessions
			WHERE session_id !~ '-')),
	'a session that is referred to stays');
innocent('a session, later');
ok( $node->poll_query_until('postgres', q(
		SELECT count(*) = 0 FROM agno.sessions WHERE session_id ~ '-')),
	'others go');
is( $node->safe_psql('postgres',
		q(CALL agno_run('on', model => 'mock:echo', session_id => 'talk', run_id => 'on'))),
	'on|COMPLETED|You said: on', 'and it can go on');

$node->stop;
done_testing();
