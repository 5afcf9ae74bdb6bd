# While requests are in flight, the runner holds no transaction, no snapshot
# and no lock. While there is nothing to do, it does not wake up at all, and
# nothing is written.
# Alone: it counts how often processes wake up.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\n");
add_mock_server(start_mock('mock'));

$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 50) i, "
	  . "agno_arun('slow', model => 'mock:slow-3000', run_id => 'slow' || i)");
wait_until("the requests", sub { 50 == mock_count("mock", "slow") });

# The turn that started them may take another moment to end.
ok( $node->poll_query_until(
		'postgres', "SELECT state = 'idle' FROM pg_stat_activity
		WHERE backend_type = 'agno_bg runner'"),
	'the runner waits with 50 requests in flight');
is(value("state, xact_start IS NULL, backend_xid IS NULL,
		backend_xmin IS NULL, query FROM pg_stat_activity
		WHERE backend_type = 'agno_bg runner'"),
	'idle|t|t|t|agno_bg: 50 runs in flight',
	'the runner holds no transaction and no snapshot, and says what it does');
is(value("count(*) FROM pg_locks JOIN pg_stat_activity
		USING (pid) WHERE backend_type LIKE 'agno_bg%'"),
	0,
	'no process of ours holds any lock');
is(scalar(grep { $_->{event} eq 'answered' } mock_log('mock')),
	0, 'the requests are still in flight');
$node->poll_query_until('postgres',
	"SELECT count(*) = 50 FROM agno.runs WHERE status = 'COMPLETED'");

SKIP:
{
	skip 'there is no /proc', 3 unless -e "/proc/$$/status";
	my $launcher = launcher_pid();
	my $runner = runner_pid();
	my $previous = -1;

	# It comes to rest ...
	wait_until(
		'rest',
		sub {
			my $now = switches_of($runner);
			my $rest = $now == $previous;
			$previous = $now;
			sleep 1;
			return $rest;
		});

	# ... and stays there.
	my @before = (switches_of($launcher), switches_of($runner));
	my $wal = value('pg_current_wal_insert_lsn()');
	sleep 10;
	is_deeply([ switches_of($launcher), switches_of($runner) ],
		\@before, 'neither process wakes up in ten seconds of rest');
	is(value('pg_current_wal_insert_lsn()'),
		$wal, 'nothing is written in ten seconds of rest');
	enqueue('awake', 'echo');
	is(wait_run('awake'), 'COMPLETED',
		'a run is executed at once after the rest');
}
$node->stop;
done_testing();
