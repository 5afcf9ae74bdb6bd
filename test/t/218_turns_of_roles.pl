# A role with many connections to open to an https server has nobody else wait for his
# turn: who may define a server can name that of another, and fail at each connection,
# for want of the certificate.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $dir = $PostgreSQL::Test::Utils::tmp_check;
make_certificate();
my ($mock_port) = start_mock('tls', '--tls-cert', "$dir/cert.pem",
	'--tls-key', "$dir/key.pem") =~ /:(\d+)/;
start_program('python3', "$FindBin::Bin/../mock/late_proxy.py", $mock_port,
	'0.2', "$dir/proxy.port");
wait_until('the proxy', sub { -s "$dir/proxy.port" });
my $port = slurp_file("$dir/proxy.port");

my $node = new_node('main');
make_user('greedy', 'other');
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER good FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'https://127.0.0.1:$port/v1', ca_file '$dir/cert.pem');
	GRANT USAGE ON FOREIGN SERVER good TO other;
	GRANT USAGE ON FOREIGN DATA WRAPPER agno_bg TO greedy));
as('greedy', qq(
	CREATE SERVER same FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'https://127.0.0.1:$port/v1', connect_timeout '60s',
			retries '0', unreachable_patience '0')));

as('greedy', q(SELECT count(*) FROM generate_series(1, 100) i,
	agno_arun('x', model => 'same:echo', run_id => 'greedy' || i)));
$node->poll_query_until('postgres',
	"SELECT count(*) > 80 FROM agno.runs WHERE status = 'RUNNING'")
  or die 'the runs do not start';
my $start = time;
enqueue('other', 'good:echo', role => 'other');
expect_run('other', { status => 'COMPLETED' },
	'a run of another role completes');
my $seconds = time - $start;
note("it took $seconds s");
cmp_ok($seconds, '<', 5, 'it does not wait for the turns of one role');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 100 FROM agno.runs
			WHERE run_id ~ '^greedy' AND status = 'ERROR'"),
	'the runs without the certificate end in ERROR');

$node->stop;
done_testing();
