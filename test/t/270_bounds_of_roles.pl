# A role may have two runs in flight, or all slots are taken and it has the one that each role
# may have then, and the first ones that are ready cannot start: they are behind another of
# their session, or their server is busy. Its other runs start all the same, though nothing
# else happens.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => 'agno_bg.max_runs_per_role = 2');
my $url = start_mock('mock');
add_mock_server($url);
add_mock_server($url, name => 'narrow', options => ", max_concurrency '1'");
make_user('app', 'other');

# Runs of app that cannot start, and five that can: these do so soon.
sub starts
{
	my ($name, $blocked) = @_;
	my $start = time;

	as('app', "BEGIN; $blocked; SELECT count(agno_arun('x', run_id => '$name' || i, model => 'mock:echo')) FROM generate_series(1, 5) i; COMMIT");
	ok($node->poll_query_until('postgres', "SELECT count(*) = 5 FROM agno.runs WHERE run_id ~ '^$name' AND status = 'COMPLETED'"), "$name: the others complete");
	cmp_ok(time - $start, '<', 10, "$name: soon");
	return;
}

starts('first', q(SELECT agno_arun('x', session_id => 's', model => 'mock:echo', run_at => '2100-01-01');
	SELECT count(agno_arun('x', session_id => 's', model => 'mock:echo', priority => 1)) FROM generate_series(1, 2)));
enqueue('gate', 'narrow:gate', role => 'other');
wait_for_request('gate');
starts('busy', q(SELECT count(agno_arun('x', model => 'narrow:echo')) FROM generate_series(1, 2)));
configure(max_concurrent_runs => 1);
starts('newcomer', q(SELECT count(agno_arun('x', session_id => 's', model => 'mock:echo')) FROM generate_series(1, 2)));

$node->stop;
done_testing();
