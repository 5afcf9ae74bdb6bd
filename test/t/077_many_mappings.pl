# A role that changes its user mapping again and again: what the runner knew of the
# old ones is forgotten, but not what runs wait for.
# Waits: for what is forgotten after a while.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER limited FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url', requests_per_minute '6');
	SELECT agno_arun('x', model => 'limited:echo', run_id => 'limited' || i)
	FROM generate_series(1, 4) i;
	SELECT agno_arun('x', model => 'mock:gate', run_id => 'gate')));
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 3 FROM agno.run_queue WHERE state = 'p'"),
	'three runs wait for a server with a limit');

$node->safe_psql(
	'postgres', join '',
	map { "CREATE USER MAPPING FOR postgres SERVER mock OPTIONS (api_key 'key-$_');
		CALL agno_run('x', model => 'mock:echo', run_id => 'run$_') \\g /dev/null
		DROP USER MAPPING FOR postgres SERVER mock;\n" } 1 .. 1500);
is(value("count(*) FROM agno.runs WHERE run_id ~ '^run' AND status = 'COMPLETED'"),
	1500, 'runs with 1,500 user mappings complete');
my ($last) = grep { $_->{headers}{authorization} eq 'Bearer key-1500' }
  mock_requests('mock', 'x');
ok($last, 'the last one is sent with the last key');
open_gate('mock');
is(wait_run('gate'), 'COMPLETED', 'the run that was in flight all the time completes');
foreach my $run (1 .. 4)
{
	is(wait_run("limited$run"), 'COMPLETED', "run $run of the limited server completes");
}
is(value("bool_and(started_at - before > '9 s') FROM (SELECT started_at,
		lag(started_at) OVER (ORDER BY started_at) AS before FROM agno.runs WHERE run_id ~ 'limited') r"),
	't', 'none of them was let go before its time');

$node->stop;
done_testing();
