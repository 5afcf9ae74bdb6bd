# Two dozen roles have answers that take long to be received at the same time, each no longer
# than it may at once. Others do not wait for all of them at each step of their own runs. The
# server is mock/flooding_server.py.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $flood = start_flood('flood');
my @greedy = map { "greedy$_" } 1 .. 24;
my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user(@greedy, 'other');
add_mock_server($flood, name => 'flood', options => ", retries '0'");
as('other', q(CALL agno_run('x', model => 'mock:echo')));

foreach my $kind ('chunks', 'gzip')
{
	$node->safe_psql('postgres', join(';', map { "SET SESSION AUTHORIZATION $_; SELECT count(agno_arun('x', model => 'flood:$kind')) FROM generate_series(1, 4) i" } @greedy));
	my $end = time + 5;
	my $calls = calls_until('other', sub { time > $end });

	note("$kind: another role calls $calls times meanwhile");
	cmp_ok($calls, '>', 15, 'others are served between them');
	$node->safe_psql('postgres', 'SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL');
}

$node->stop;
done_testing();
