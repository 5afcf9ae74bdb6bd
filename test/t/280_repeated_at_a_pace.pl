# A model server takes so many requests a minute, and fails those of one role, whose runs
# repeat them again and again: each repetition waits for its turn as a new run does, and
# others have their own.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $mock = start_mock('mock');
add_mock_server($mock, name => 'paced', options => ", requests_per_minute '120', retries '100'");
make_user('failing', 'other');
as('failing', q(SELECT count(agno_arun('failing', model => 'paced:status-500')) FROM generate_series(1, 100) i));
wait_until('some of them to have been repeated', sub { mock_count('mock', 'failing') >= 16 });
my $began = time;
my $before = mock_count('mock', 'failing');
my @took = map {
	my $start = time;

	as('other', q(CALL agno_run('other', model => 'paced:echo')));
	time - $start
} 1 .. 5;
my $seconds = time - $began;
my $requests = mock_count('mock', 'failing') - $before + 5;

note(sprintf('longest call: %.2f s, %d requests in %.2f s', max(@took), $requests, $seconds));
cmp_ok(max(@took), '<', 2.5, 'others have their turns');
cmp_ok($requests, '<=', 2 * $seconds + 2, 'there are no more requests than that');
cmp_ok($requests, '>', $seconds, 'nor much fewer');
is(value('max(attempt) FROM agno.runs'), 1, 'a repetition is no attempt');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
