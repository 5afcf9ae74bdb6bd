# No run of an https server waits behind those that get no answer. The server may
# speak HTTP/1.1, which nothing but the handshake tells as long as it does not
# answer; or HTTP/2, where a hundred requests share a connection. And where there is
# no connection, no run outlives its time.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $dir = $PostgreSQL::Test::Utils::tmp_check;
make_certificate();

my $url = start_mock('mock');
my $https = start_mock('tls', '--tls-cert', "$dir/cert.pem",
	'--tls-key', "$dir/key.pem");
my ($mock_port) = $url =~ /:(\d+)/;
my $port = start_nginx(qq(
		listen 127.0.0.1:PORT ssl http2;
		ssl_certificate $dir/cert.pem;
		ssl_certificate_key $dir/key.pem;
		location / { proxy_pass http://127.0.0.1:$mock_port; }))
  or plan skip_all => 'there is no nginx';

# One that takes connections and says nothing
my $silent = IO::Socket::INET->new(
	LocalAddr => '127.0.0.1',
	Listen => 100) or die "could not listen: $!";

my $node = new_node('main');
make_user('greedy', 'other');
foreach my $server (
	[ 'one', $https ], [ 'two', "https://127.0.0.1:$port/v1" ],
	[ 'silent', 'https://127.0.0.1:' . $silent->sockport . '/v1' ])
{
	$node->safe_psql(
		'postgres', qq(
		CREATE SERVER $server->[0] FOREIGN DATA WRAPPER agno_bg
			OPTIONS (base_url '$server->[1]', ca_file '$dir/cert.pem',
				connect_timeout '2s', retries '0', unreachable_patience '0');
		GRANT USAGE ON FOREIGN SERVER $server->[0] TO PUBLIC));
}

# Runs of one role that get no answer, and then one of another role
sub crowd
{
	my ($server, $mock, $count) = @_;

	as('greedy', "SELECT count(*) FROM generate_series(1, $count) i,
		agno_arun('hang $server', model => '$server:hang',
			run_id => '$server' || i)");
	wait_until("$count requests to $server",
		sub { $count == mock_count($mock, "hang $server") });
	my $start = time;
	enqueue("echo $server", "$server:echo", role => 'other');
	expect_run("echo $server", { status => 'COMPLETED' },
		"a run of $server completes beside $count that get no answer");
	cmp_ok(time - $start, '<', 5, "that run of $server does not wait");
}

crowd('one', 'tls', 30);
crowd('two', 'mock', 600);

# Without a connection, all runs end in good time
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('x', model => 'silent:x', run_id => 'silent' || i);
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('x', model => 'silent:x', run_id => 'short' || i,
			timeout => '1s')));
my $start = time;
$node->poll_query_until('postgres', "SELECT count(*) = 40 FROM agno.runs
		WHERE run_id ~ '^(silent|short)' AND status = 'ERROR'")
  or die 'runs without a connection do not end';
cmp_ok(time - $start, '<', 6, 'runs without a connection end in good time');
is(value("string_agg(DISTINCT error->>'type', ' ' ORDER BY error->>'type')
		FROM agno.runs WHERE run_id ~ '^silent'"),
	'connection', 'they say that the server could not be reached');
is(value("string_agg(DISTINCT error->>'type', ' ') FROM agno.runs
		WHERE run_id ~ '^short'"),
	'timeout', 'a timeout holds for runs without a connection');

$node->stop;
done_testing();
