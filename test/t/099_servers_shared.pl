# No role takes all places of a model server, however few it has.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $url = start_mock('mock');

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

done_testing();
