# One run that cannot be started makes no others go one by one: with a trigger
# that refuses it, two thousand runs beside it are started and stored in few
# transactions, and it ends in ERROR.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.paused = on');
add_mock_server($node, start_mock('mock'));
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF new.input = 'refused' AND new.status = 'RUNNING' THEN
			RAISE EXCEPTION 'this run is refused';
		END IF;
		RETURN new;
	END $$;
	CREATE TRIGGER refuse BEFORE UPDATE ON agno.runs
		FOR EACH ROW EXECUTE FUNCTION refuse();
	SELECT count(*) FROM generate_series(1, 2000) i,
		agno_arun(CASE WHEN i = 300 THEN 'refused' ELSE 'run ' || i END,
			model => 'mock:echo', run_id => 'r' || i)));

$node->append_conf('postgresql.conf', 'agno_bg.paused = off');
$node->reload;
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 1999 FROM agno.runs WHERE status = 'COMPLETED'"),
	'all others complete');
is(wait_run($node, 'r300'), 'ERROR', 'the one that is refused ends in ERROR');
is( $node->safe_psql('postgres',
		"SELECT error->>'type' FROM agno.runs WHERE run_id = 'r300'"),
	'storage', 'of type storage');
cmp_ok(
	$node->safe_psql('postgres',
		'SELECT count(DISTINCT xmin::text) FROM agno.runs'),
	'<', 400, 'they are stored together');

$node->stop;
done_testing();
