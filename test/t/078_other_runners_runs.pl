# Two runners, and a session with thousands of runs that are scheduled, or that
# somebody has locked: the runner that this session does not belong to does not
# look through them in each turn. Counted as the rows of agno.run_queue that are
# fetched by an index.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node(
	'main', conf => 'agno_bg.runners = 2
	autovacuum = off');
my $url = start_mock('mock');
add_mock_server($url);
$node->safe_psql('postgres', q(SELECT count(agno_arun('x', model => 'mock:echo',
	session_id => 'crowded', run_id => 'later' || i, run_at => '2100-01-01'))
	FROM generate_series(1, 10000) i));

# Two hundred runs, one after the other, half of them for each runner.
my $query = "idx_tup_fetch FROM pg_stat_user_tables
	WHERE relid = 'agno.run_queue'::regclass";
my $before = value($query);
$node->safe_psql('postgres',
	"CALL agno_run('x', model => 'mock:echo') \\g /dev/null\n" x 200);
my ($after, $last);
wait_until(
	'the statistics',
	sub {
		$last = $after // -1;
		$after = value($query);
		sleep 1;
		return $after == $last && $after > $before;
	});
my $fetched = ($after - $before) / 200;
note("each run makes the runners fetch $fetched rows");
cmp_ok($fetched, '<', 100,
	"a runner does not look through another's runs in each turn");

$node->stop;
done_testing();
