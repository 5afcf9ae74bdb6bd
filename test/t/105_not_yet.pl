# What is not due yet costs nothing: neither runs that are scheduled for later, nor
# markers, nor runs that are too young to be deleted. The fault is that there are
# many of them. Counted as the rows of agno_bg's tables that are read.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => 'autovacuum = off');
my $url = start_mock('mock');
add_mock_server($url);

# How many rows of a table have been read by an index, once the runner has
# nothing to do.
sub rows_read
{
	my ($table) = @_;
	my ($last, $read) = (-1, -2);

	wait_until('the statistics', sub {
		$last = $read;
		$read = value("idx_tup_fetch FROM pg_stat_user_tables
			WHERE relid = 'agno.$table'::regclass");
		sleep 1;
		return $read == $last;
	});
	return $read;
}

$node->safe_psql('postgres', q(
	SELECT count(agno_arun('x', model => 'mock:echo', run_at => '2100-01-01'))
	FROM generate_series(1, 5000) i;
	SELECT count(agno_cancel_run('unknown' || i)) FROM generate_series(1, 2000) i));
enqueue('first', 'echo', run_at => \"now() + interval '100 ms'");
wait_run('first');

my %before = map { $_ => rows_read($_) } qw(run_queue cancellations runs);
foreach my $i (1 .. 5)
{
	enqueue("due$i", 'echo', run_at => \"now() + interval '100 ms'");
	is(wait_run("due$i"), 'COMPLETED', "run $i starts when its time has come");
}
cmp_ok(rows_read('run_queue') - $before{run_queue},
	'<', 1000, 'runs that are scheduled for later are not read');
cmp_ok(rows_read('cancellations') - $before{cancellations},
	'<', 1000, 'markers that are young are not read');

# There are runs that have ended, and none that is old enough.
$node->safe_psql('postgres', q(
	INSERT INTO agno.runs (run_id, session_id, status, input, model,
		model_provider, owner, priority, created_at, finished_at)
	SELECT 'young' || i, 'young' || i, 'COMPLETED', 'x', 'm', 'mock',
		'postgres'::regrole, 0, now() + i * interval '1 us', now()
	FROM generate_series(1, 5000) i));
$before{runs} = rows_read('runs');
configure(retention => '1d');
$node->poll_query_until('postgres',
	"SELECT current_setting('agno_bg.retention') = '1d'");
enqueue('later', 'echo');
wait_run('later');
cmp_ok(rows_read('runs') - $before{runs},
	'<', 1000, 'runs that are too young to be deleted are not read');

$node->stop;
done_testing();
