# Roles whose runs take long, each for the first time, are found out one after the other: the
# runs of others go on between.
# Alone: it measures how long others wait.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $count = 40;
my @roles = map { "role$_" } 1 .. $count;
my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('boss', @roles);
as('boss', q(CALL agno_run('x', model => 'mock:echo')));
as($_, q(SELECT count(agno_arun('huge', model => 'mock:huge-4000-1000')) FROM generate_series(1, 2))) foreach @roles;
my $longest = longest_call('boss', sub { value("count(*) = 2 * $count FROM agno.runs WHERE input = 'huge' AND status = 'COMPLETED'") eq 't' });
note("others waited for $longest s");
cmp_ok($longest, '<', 4, 'others wait for a few of them');
$node->stop;
done_testing();
