# What the machine runs out of: file descriptors, and space on the disk. Each is
# one line in the log, costs no run, and needs nobody when it is over. The full
# disk is made by a library that is loaded before libc: faults/disk_full.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $node = do
{
	local $ENV{DISK_FULL} = "$dir/full";
	new_node('main', fault => 'disk_full');
};
add_mock_server(start_mock('mock'));

# File descriptors: the worker has some open, and may have five more.
my $runner = runner_pid();
$node->safe_psql('postgres', "SELECT agno_arun('x', model => 'mock:echo')");
my $open = () = glob("/proc/$runner/fd/*");
system_or_bail('prlimit', "--pid=$runner", '--nofile=' . ($open + 5) . ':');
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 60) i,
		agno_arun('files', model => 'mock:slow-300', run_id => 'files' || i)));
wait_until('the log', sub { logged('for lack of file descriptors') });
sleep 3;
is(logged('for lack of file descriptors'), 1,
	'no file descriptors: the log says so once');
is(value("count(*) FROM agno.runs WHERE status = 'ERROR'"), 0,
	'no run is lost for lack of file descriptors');
system_or_bail('prlimit', "--pid=$runner", '--nofile=1000:');
ok( $node->poll_query_until('postgres', q(
		SELECT count(*) = 60 FROM agno.runs
		WHERE run_id LIKE 'files%' AND status = 'COMPLETED')),
	'runs complete when there are file descriptors again');
is(scalar(mock_requests('mock', 'files')), 60,
	'each request is sent once despite the lack of file descriptors');
is(runner_pid(), $runner,
	'the runner stays the same when file descriptors are lacking');

# Space on the disk: long answers, which the table has to grow for.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 40) i,
		agno_arun('disk', model => 'mock:huge-200-4000', run_id => 'disk' || i);
	ALTER TABLE agno.runs ALTER content SET STORAGE EXTERNAL));
wait_until('the requests', sub { mock_requests('mock', 'disk') >= 40 });
append_to_file("$dir/full", '');
wait_until('the log', sub { logged('agno_bg runner ERROR:.*No space left') });
sleep 3;
cmp_ok(logged('agno_bg runner ERROR:.*No space left'),
	'<=', 2, 'no space on the disk: the log says so once for a fault');
is(value("count(*) FROM agno.runs WHERE run_id LIKE 'disk%' AND status = 'ERROR'"),
	0, 'no run is lost when the disk is full');
unlink "$dir/full";
ok( $node->poll_query_until('postgres', q(
		SELECT count(*) = 40 FROM agno.runs
		WHERE run_id LIKE 'disk%' AND status = 'COMPLETED'
		AND length(content) = 200 * 1024)),
	'answers are stored when there is space on the disk again');
is(scalar(mock_requests('mock', 'disk')), 40,
	'each request is sent once despite the full disk');

$node->stop;
done_testing();
