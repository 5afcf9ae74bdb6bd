# agno.stats: how many runs there are of each status, how long the oldest has
# waited, and what models have cost, for those who own runs and those who
# monitor.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q(
	CREATE ROLE alice; CREATE ROLE bob; CREATE ROLE monitor IN ROLE pg_monitor;
	SELECT agno_grant_usage('alice'); SELECT agno_grant_usage('bob');
	SET ROLE alice;
	SELECT agno_arun('1', model => 'mock:echo', run_id => 'a1');
	SELECT agno_arun('2', model => 'mock:echo', run_id => 'a2');
	SELECT agno_arun('3', model => 'mock:status-400', run_id => 'a3');
	SELECT agno_arun('4', model => 'mock:echo', run_at => now() + '1 h',
		run_id => 'a4');
	SET ROLE bob;
	SELECT agno_arun('5', model => 'mock:slow-10', run_id => 'b1')));
wait_run($_) foreach qw(a1 a2 a3 b1);

my $query = 'SELECT model_provider, model, status, sum(runs), sum(input_tokens),
	sum(output_tokens), sum(total_tokens), max(oldest_pending) IS NULL
	FROM agno.stats GROUP BY 1, 2, 3 ORDER BY 2, 3';
my $alice = "mock|echo|PENDING|1|0|0|0|t\n"
  . "mock|echo|COMPLETED|2|22|14|36|t\n";
is($node->safe_psql('postgres', "SET ROLE alice; $query"),
	$alice . 'mock|status-400|ERROR|1|0|0|0|t',
		'an owner sees the counts of its runs');
is($node->safe_psql('postgres', "SET ROLE monitor; $query"),
	$alice . "mock|slow-10|COMPLETED|1|11|7|18|t\n"
	  . 'mock|status-400|ERROR|1|0|0|0|t',
		'who monitors sees the counts of all runs');
is(value("bool_and(hour = date_trunc('hour', hour)
			AND now() - hour < '2 h') FROM agno.stats"),
	't', 'agno.stats counts by the hour');

$node->safe_psql('postgres', q(
	ALTER SYSTEM SET agno_bg.paused = on;
	SELECT pg_reload_conf()));
$node->poll_query_until('postgres',
	"SELECT current_setting('agno_bg.paused')::boolean");
$node->safe_psql('postgres', q(
	SELECT agno_arun('waits', model => 'mock:echo', run_id => 'w', run_at => now())));
is( $node->safe_psql('postgres', q(
		SELECT pg_sleep(0.2);
		SELECT max(oldest_pending) BETWEEN '0.2 s' AND '1 min' FROM agno.stats)),
	"\nt", 'agno.workers says how long the oldest ready run has waited');

$node->stop;
done_testing();
