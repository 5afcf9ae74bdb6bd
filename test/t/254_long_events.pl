# A role has streamed answers whose events take long to be read: each time, it leaves the
# runner to others for as long. So these wait for one such event, not for one at each step of
# their own runs. The server is mock/flooding_server.py.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $flood = start_flood('flood');
my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
add_mock_server($flood, name => 'flood', options => ", retries '0'");
as('other', q(CALL agno_run('x', model => 'mock:echo')));

as('greedy', "SELECT count(agno_arun('x', run_id => 'event-' || i, model => 'flood:event-8', stream => true)) FROM generate_series(1, 10) i");
my $calls = calls_until_ended('other', 'event-.*');
cmp_ok($calls, '>', 20, 'others wait for one event, not for one at each step');
is(value("string_agg(DISTINCT error->>'message', ' ') FROM agno.runs WHERE owner = 'greedy'::regrole"),
	'the stream ended before the answer did', 'all of which are read');

# Answers of a role that leaves the time to another one end while that one's are read.
make_user('greedy2');
my $runner = runner_pid();
foreach my $round (1 .. 4)
{
	as('greedy2', "SELECT count(agno_arun('x', run_id => '$round-b-' || i, model => 'flood:event-6', stream => true)) FROM generate_series(1, 3) i");
	as('greedy', "SELECT count(agno_arun('x', run_id => '$round-a-' || i, model => 'flood:event-3', stream => true)) FROM generate_series(1, 2) i");
	as('greedy', "SELECT count(agno_arun('x', run_id => '$round-c-' || i, model => 'mock:slow-' || i * 10, stream => true)) FROM generate_series(1, 150) i");
	ok($node->poll_query_until('postgres', "SELECT count(*) = 155 FROM agno.runs WHERE run_id ~ '^$round-[abc]-' AND status IN ('ERROR', 'COMPLETED')"), 'all answers are read');
}
is(runner_pid(), $runner, 'and the runner goes on');

$node->stop;
done_testing();
