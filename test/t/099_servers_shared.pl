# No role takes all places of a model server, however few it has. And the limits of a
# server hold for all runners together after a role has used more user mappings than
# there is room for in shared memory.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $url = start_mock('mock');

# One runner
my $node = new_node('main');
make_user('greedy', 'other');
foreach my $places (2, 4)
{
	$node->safe_psql(
		'postgres', qq(
		CREATE SERVER small$places FOREIGN DATA WRAPPER agno_bg
			OPTIONS (base_url '$url', max_concurrency '$places');
		GRANT USAGE ON FOREIGN SERVER small$places TO PUBLIC));
	as('greedy', "SELECT count(*) FROM generate_series(1, 10) i,
		agno_arun('hang $places', model => 'small$places:hang',
			run_id => '$places hang ' || i)");
	wait_until('the requests',
		sub { mock_count('mock', "hang $places") >= $places - 1 });
	enqueue("echo $places", "small$places:echo",
		role => 'other', timeout => '10 s');
	expect_run("echo $places", { status => 'COMPLETED' },
		"a run completes beside those of a role that takes what it can of $places places");
	is(mock_count('mock', "hang $places"), $places - 1,
		"that role has all but one of $places places");
}
$node->stop;

# Two runners, and more user mappings than MAX_LOADS
$node = new_node('two', conf => "agno_bg.runners = 2\n");
add_mock_server($url);
$node->safe_psql(
	'postgres', join '',
	map { "CREATE USER MAPPING FOR postgres SERVER mock OPTIONS (api_key 'key-$_');
		CALL agno_run('x', model => 'mock:echo', run_id => 'run$_') \\g /dev/null
		DROP USER MAPPING FOR postgres SERVER mock;\n" } 1 .. 1100);
is(value("count(*) FROM agno.runs WHERE run_id ~ '^run' AND status = 'COMPLETED'"),
	1100, 'runs with 1,100 user mappings complete');
$node->safe_psql('postgres', qq(
	CREATE SERVER single FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url', max_concurrency '1');
	SELECT count(*) FROM generate_series(1, 40) i,
		agno_arun('single', model => 'single:hang', run_id => 'single' || i)));
wait_for_request('single');
$node->poll_query_until('postgres',
	"SELECT count(*) = 39 FROM agno.run_queue WHERE state = 'p'")
  or diag 'not all others wait for their server';
is(mock_count('mock', 'single'), 1,
	'a limit holds for both runners after 1,100 user mappings');

$node->stop;
done_testing();
