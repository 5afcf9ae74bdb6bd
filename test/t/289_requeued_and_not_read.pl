# The on_complete of a run is called a minute after it has ended, and at once the run is requeued:
# just then its runner looks for those whose rows in agno.callbacks a hand has deleted, and has
# not read yet what has happened. The run is executed again all the same. (A trigger does that
# in another session, between the two, and what a tool worker does, by hand.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.max_tool_workers = 0');
plan skip_all => skipped('the server has no dblink')
  if !value(q(count(*) FROM pg_available_extensions WHERE name = 'dblink'));
add_mock_server(start_mock('mock'));
my $conninfo = AgnoTest::literal($node->connstr('postgres'));
my $meanwhile = AgnoTest::literal(q(
	BEGIN;
	DELETE FROM agno.callbacks;
	UPDATE agno.runs SET status = 'ERROR', finished_at = clock_timestamp() WHERE run_id = 'run';
	SELECT public.agno_requeue_run('run');
	UPDATE agno.run_queue SET run_at = '2000-01-01' WHERE run_id = 'run';
	COMMIT));
$node->safe_psql('postgres', qq(
	CREATE EXTENSION dblink;
	CREATE FUNCTION note(r agno.runs) RETURNS void LANGUAGE sql AS '';
	CREATE FUNCTION meanwhile() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		PERFORM public.dblink_exec($conninfo, $meanwhile);
		RETURN new;
	END \$\$;
	CREATE TRIGGER meanwhile BEFORE UPDATE ON agno.runs FOR EACH ROW
		WHEN (new.run_id = 'other' AND new.status = 'RUNNING') EXECUTE FUNCTION meanwhile()));
enqueue('run', 'flaky-1-400', on_complete => 'public.note(agno.runs)');
wait_until('it to wait for that', sub { value(q(state = 'b' FROM agno.run_queue WHERE run_id = 'run')) eq 't' });
$node->safe_psql('postgres', q(SELECT agno_arun('other', run_id => 'other', model => 'mock:echo', run_at => now() + '1 s'::interval)));
expect_run('other', { status => 'COMPLETED' }, 'a turn has been held up');
configure(max_tool_workers => 4);

expect_run('run', { status => 'COMPLETED', content => 'You said: run', attempt => 2 }, 'the run is executed again');
is(mock_count('mock', 'run'), 2, 'and has been sent twice');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
