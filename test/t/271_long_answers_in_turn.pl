# Two roles have runs for a server that has room for one, and each answer takes longer than a
# run that is parked waits before it asks all the same. They take turns.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url, name => 'narrow', options => ", max_concurrency '1'");
make_user('one', 'two');

foreach my $role ('one', 'two')
{
	as($role, "SELECT count(agno_arun('x', model => 'narrow:slow-1300', run_id => '$role' || i)) FROM generate_series(1, 10) i");
}
ok($node->poll_query_until('postgres', q(SELECT count(*) = 8 FROM agno.runs WHERE status = 'COMPLETED')), 'eight complete');
my @done = map { value("count(*) FROM agno.runs WHERE run_id ~ '^$_' AND status = 'COMPLETED'") } 'one', 'two';
note("of each: @done");
cmp_ok($_, '>', 2, 'of both roles') foreach @done;

$node->stop;
done_testing();
