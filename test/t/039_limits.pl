# What the machine runs out of: file descriptors, and space on the disk. Each is
# one line in the log, costs no run, and needs nobody when it is over. So it is when
# a quota is used up, or the disk has become read-only. The full
# disk is made by a library that is loaded before libc: faults/disk_full.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use Errno qw(ENOSPC EDQUOT EROFS);
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

# Answers for which the table has to grow wait until it can.
sub stored_later
{
	my ($name, $errno, $message) = @_;

	$node->safe_psql('postgres', "SELECT count(*) FROM generate_series(1, 40) i, agno_arun('$name', model => 'mock:huge-200-4000', run_id => '$name' || i)");
	wait_until('the requests', sub { mock_requests('mock', $name) >= 40 });
	append_to_file("$dir/full", $errno);
	wait_until('the log', sub { logged("agno_bg runner ERROR:.*$message") });
	sleep 3;
	cmp_ok(logged("agno_bg runner ERROR:.*$message"), '<=', 2, "$message: the log says so once for a fault");
	is(value("count(*) FROM agno.runs WHERE run_id LIKE '$name%' AND status = 'ERROR'"), 0, "$message: no run is lost");
	unlink "$dir/full";
	ok( $node->poll_query_until(
			'postgres', "SELECT count(*) = 40 FROM agno.runs
			WHERE run_id LIKE '$name%' AND status = 'COMPLETED'
			AND length(content) = 200 * 1024"),
		"$message: answers are stored when there is room again");
	is(scalar(mock_requests('mock', $name)), 40, "$message: each request is sent once");
	# When turns are as large again as they were, the log tells of the next fault.
	$node->safe_psql('postgres', "CALL agno_run('after', model => 'mock:echo');" x 20);
}

# Long answers
$node->safe_psql('postgres', 'ALTER TABLE agno.runs ALTER content SET STORAGE EXTERNAL');
stored_later('disk', ENOSPC, 'No space left on device');
stored_later('quota', EDQUOT, 'Disk quota exceeded');
stored_later('frozen', EROFS, 'Read-only file system');

# Room for temporary files, which a large answer needs
$node->safe_psql('postgres', q(ALTER SYSTEM SET temp_file_limit = '64kB'));
$node->reload;
enqueue('spills', 'mock:huge-8000');
ok(completed('spills', 1), 'a temp_file_limit for sessions is none for answers');

$node->stop;
done_testing();
