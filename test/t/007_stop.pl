# A clean stop with slow requests in flight takes under two seconds, and does
# not count as an attempt. The same holds for a runner that is terminated; it
# is replaced.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
add_mock_server(start_mock('mock'));

sub in_flight
{
	return scalar(
		grep { $_->{body}{model} eq 'slow-4000' } mock_requests('mock'));
}

$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 100) i, "
	  . "agno_arun('slow', model => 'mock:slow-4000', run_id => 'slow' || i)");
wait_until('100 requests', sub { in_flight() == 100 });
my $start = time;
$node->stop('fast');
my $duration = time - $start;
cmp_ok($duration, '<', 2, "the stop took $duration s");

$node->start;
wait_until('100 more requests', sub { in_flight() == 200 });
my $pid = runner_pid();
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_until('100 more requests', sub { in_flight() == 300 });
isnt(runner_pid(), $pid, 'a runner that is terminated is replaced');

ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 100 FROM agno.runs
		WHERE status = 'COMPLETED' AND attempt = 1"),
	'all runs complete, and no attempt was counted for the stops');

# A stop that comes while a turn waits for something is not missed.
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_sleep(2);
		RETURN NEW;
	END $$;
	CREATE TRIGGER linger BEFORE UPDATE ON agno.runs FOR EACH ROW
		WHEN (new.run_id = 'lingers' AND new.status = 'COMPLETED')
		EXECUTE FUNCTION linger()));
enqueue('lingers', 'echo');
$node->poll_query_until('postgres', "SELECT wait_event = 'PgSleep'
	FROM pg_stat_activity WHERE backend_type = 'agno_bg runner'");
$start = time;
$node->stop('fast');
$duration = time - $start;
cmp_ok($duration, '<', 10, "the stop in the middle of a turn took $duration s");

done_testing();
