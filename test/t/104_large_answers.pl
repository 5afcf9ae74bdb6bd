# What a turn stores is bounded in bytes, so large answers of one role delay others'
# runs by one of them and not by all. Counted as what the transactions of the runner
# have stored: the fault is that many such answers arrive while it is busy.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => 'autovacuum = off');
add_mock_server(start_mock('mock'));
make_user('a', 'b');

# While the run "busy" is stored, the runner does nothing else.
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION be_busy() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_sleep(3);
		RETURN NEW;
	END $$;
	CREATE TRIGGER busy BEFORE UPDATE ON agno.runs FOR EACH ROW
		WHEN (new.run_id = 'busy' AND new.status = 'COMPLETED')
		EXECUTE FUNCTION be_busy()));
enqueue('busy', 'slow-500');
wait_for_request('busy');
as('a', "SELECT count(agno_arun('large', model => 'mock:huge-8000-700', run_id => 'a' || i))
	FROM generate_series(1, 12) i");
as('b', "SELECT count(agno_arun('small', model => 'mock:echo', run_id => 'b' || i))
	FROM generate_series(1, 5) i");
foreach my $id ('busy', (map { "a$_" } 1 .. 12), (map { "b$_" } 1 .. 5))
{
	wait_run($id) eq 'COMPLETED' or fail("run $id");
}
my $most = value(q(max(n) FROM (SELECT count(*) AS n FROM agno.runs
	WHERE octet_length(content) > 1000000 GROUP BY xmin::text) t));
note("$most large answers in one transaction at most");
cmp_ok($most, '<=', 4, 'a turn stores a bounded number of bytes');

$node->stop;
done_testing();
