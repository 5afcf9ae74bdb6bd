# Eight roles have streamed answers whose events take long to be read: as soon as one has
# been, all of them leave the runner to others for as long. So these wait for one, not for
# eight at each step of their own runs, though they have had such an answer as well. The
# server is mock/flooding_server.py.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $flood = start_flood('flood');
my @slow = map { "slow$_" } 1 .. 8;
my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user(@slow, 'other');
add_mock_server($flood, name => 'flood', options => ", retries '0'");
as('other', q(CALL agno_run('x', model => 'mock:echo')));

as('slow1', q(SELECT agno_arun('x', model => 'mock:slow-3000')));
as('other', q(CALL agno_run('x', model => 'flood:event-4', stream => true)));

# The first time, nobody knows of them that they are slow.
foreach my $time ('first', 'second')
{
	as($_, "SELECT count(agno_arun('x', run_id => '$time-$_-' || i, model => 'flood:event-6', stream => true)) FROM generate_series(1, 2) i") foreach @slow;
	cmp_ok(scalar calls_until_ended('other', "$time-.*"), '>', 20, 'others go on meanwhile');
}
is(value("string_agg(DISTINCT error->>'message', ' ') FROM agno.runs WHERE error IS NOT NULL"),
	'the stream ended before the answer did', 'all answers are read');

$node->stop;
done_testing();
