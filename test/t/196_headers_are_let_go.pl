# The memory of answers with very many headers, all of them at once, is there for other
# things once they have been read: what libcurl keeps is kept for small ones only.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($count, $node) = (400, new_node('main', conf => "agno_bg.max_concurrent_runs = 500\n"));
add_mock_server(start_flood('flood'));

sub answered
{
	my ($name, $model, $runs) = @_;
	$node->safe_psql('postgres', "SELECT count(agno_arun('x', model => 'mock:$model', run_id => '$name-' || i)) FROM generate_series(1, $runs) i");
	is(value("count(*) FROM generate_series(1, $runs) i, agno_wait_run('$name-' || i) r WHERE r.status = 'COMPLETED'"), $runs, "$runs runs of $model complete");
}

answered('few', 'headers-1', 1);
my $before = status_of(runner_pid(), 'VmRSS');
answered('many', "headers-$count", $count);
my $growth = status_of(runner_pid(), 'VmRSS') - $before;
note("the runner has grown by $growth kB");
cmp_ok($growth, '<', 60_000, 'what they took is given back');

$node->stop;
done_testing();
