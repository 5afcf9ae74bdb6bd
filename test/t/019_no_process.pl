# When the server has no process left for a runner, the log says so once and agno.top
# as long, runs stay PENDING, and start by themselves when there is one. Starts that fail are
# spaced out.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# One for PostgreSQL's logical replication launcher, one for ours, one runner.
my $node = new_node('main',
	conf => "max_worker_processes = 3\nmax_logical_replication_workers = 1\n");
my $url = start_mock('mock');
add_mock_server($url);
runner_pid();

new_database('other', $url);
enqueue('x', 'echo', database => 'other');
wait_until('the log',
	sub { logged(qr/no process left for the agno_bg runner of database "other"/) });
sleep 4;
my @lines = slurp_file($node->logfile) =~ /no process left/g;
is(scalar(@lines), 1, 'the log says once that there is no process left');
is(run_status('x', 'other'), 'PENDING',
	'a run waits while there is no process for the runner');
is($node->safe_psql('other', 'SELECT waiting, waiting_for FROM agno.top'), '1|a runner process (1)',
	'agno.top says so');
$node->safe_psql('postgres', 'DROP EXTENSION agno_bg CASCADE');
is(wait_run('x', 'other'), 'COMPLETED',
	'the run starts when there is a process');

# A runner that dies at once, again and again, does not keep the server busy.
my $offset = -s $node->logfile;
my $since = time;
my %pids;
while (time - $since < 10)
{
	my $pid = value("pid FROM pg_stat_activity WHERE backend_type = 'agno_bg runner'");
	next if $pid eq '';
	$pids{$pid} = 1;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
}
cmp_ok(scalar(keys %pids), '<=', 6, 'restarts of the runner are spaced out');
cmp_ok(scalar(keys %pids), '>=', 2, 'restarts of the runner happen');

$node->stop;
done_testing();
