# Where a process may have few open files, connections that idle have them all after a burst:
# they are closed when another role needs one, for a server of https as well, whose
# certificates are to be read.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
make_certificate();
my $node = new_node('main');
add_mock_server(start_mock('mock'));
add_mock_server(start_mock('tls', '--tls-cert', "$dir/cert.pem", '--tls-key', "$dir/key.pem"),
	name => 'tls', options => ", ca_file '$dir/cert.pem'");
make_user('greedy', 'greedy2', 'other');
my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
system_or_bail('prlimit', '--nofile=300:300', '--pid', $postmaster);
replace_runner();

foreach my $round (1 .. 3)
{
	as($_, "SELECT count(agno_arun('x', run_id => '$_-$round-' || i, model => 'mock:slow-500')) FROM generate_series(1, 300) i") foreach 'greedy', 'greedy2';
	ok($node->poll_query_until('postgres', "SELECT count(*) = 600 FROM agno.runs WHERE run_id ~ '^greedy2?-$round-' AND status = 'COMPLETED'"), 'runs are executed as there are descriptors');
}
note((() = glob('/proc/' . runner_pid() . '/fd/*')) . ' descriptors are open');
like(as('other', q(CALL agno_run('x', model => 'tls:echo', timeout => '20 s'))), qr/COMPLETED/, 'another role gets one');

$node->stop;
done_testing();
