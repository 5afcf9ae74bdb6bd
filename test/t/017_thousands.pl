# Thousands of runs at once in one runner: all in flight together, and a
# cancel of one of them, or a run that is enqueued meanwhile, does not wait
# for the others.
# Alone: it measures how long others wait.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.max_concurrent_runs = 3000\n");
add_mock_server(start_mock('mock'));

my $limit = `bash -c 'ulimit -Hn'`;
my $runs = $limit =~ /^\d+$/ && $limit < 4096 ? 500 : 2000;

$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, $runs) i, "
	  . "agno_arun('hang', model => 'mock:hang', run_id => 'hang' || i)");
wait_until("$runs requests", sub { $runs == mock_count('mock', 'hang') });
my ($most) = sort { $b <=> $a }
  map { $_->{connections} } mock_requests('mock', 'hang');
is($most, $runs, "$runs requests are in flight at once");

enqueue('quick', 'echo');
is(wait_run('quick'), 'COMPLETED', 'another run does not wait for them');
$node->safe_psql('postgres', "SELECT agno_cancel_run('hang7')");
is(wait_run('hang7'), 'CANCELLED', 'one of them is cancelled');

$node->safe_psql('postgres',
	"SELECT count(agno_cancel_run('hang' || i)) FROM generate_series(1, $runs) i"
);
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = $runs FROM agno.runs
		WHERE status = 'CANCELLED'"),
	'all of them are cancelled');
wait_until('the connections to close',
	sub { $runs == grep { $_->{event} eq 'closed' } mock_log('mock') });
pass( 'the connections of cancelled runs are closed');
is(value('count(*) FROM agno.run_queue'),
	0, 'nothing is left in the queue');

# With few descriptors, fewer runs are in flight, and none fails for it.
$node->stop;
system("ulimit -n 300 && exec pg_ctl -w -D "
	  . $node->data_dir . " -l " . $node->logfile . " start >/dev/null") == 0
  or die 'pg_ctl failed';
$node->_update_pid(1);
$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 600) i, "
	  . "agno_arun('few', model => 'mock:slow-200', run_id => 'few' || i)");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 600 FROM agno.runs
		WHERE input = 'few' AND status = 'COMPLETED'"),
	'all runs complete with few descriptors');
($most) = sort { $b <=> $a }
  map { $_->{connections} } mock_requests('mock', 'few');
cmp_ok($most, '<=', 300,
	"at most $most connections are made with few descriptors");

$node->stop;
done_testing();
