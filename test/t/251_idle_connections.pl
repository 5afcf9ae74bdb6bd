# What a server says on a connection that idles is no answer to the next request: that it has
# closed it, which libcurl does not see by TLS, or an answer that nobody has asked for. The
# servers are nginx, which closes what idles for a second, and mock/flooding_server.py.

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
my ($mock_port) = start_mock('mock') =~ /:(\d+)/;
my $flood = start_flood('flood');
my $port = start_nginx(qq(
		listen 127.0.0.1:PORT ssl;
		ssl_certificate $dir/cert.pem;
		ssl_certificate_key $dir/key.pem;
		keepalive_timeout 1s;
		location / { proxy_pass http://127.0.0.1:$mock_port; }))
  or plan skip_all => 'there is no nginx';
my $node = new_node('main');
add_mock_server("https://127.0.0.1:$port/v1", name => 'idle', options => ", ca_file '$dir/cert.pem', retries '0'");
add_mock_server($flood, name => 'flood', options => ", retries '0'");

# How many connections to this port of this machine have something to be read.
sub unread
{
	my ($of) = @_;
	my $peer = sprintf('0100007F:%04X', $of);

	return scalar(grep { my @field = split; $field[2] eq $peer && $field[4] =~ /:.*[^0]/ } split /\n/, slurp_file('/proc/net/tcp'));
}

$node->safe_psql('postgres', "SELECT count(agno_arun('x', run_id => 'at-once-' || i, model => 'idle:slow-500')) FROM generate_series(1, 40) i");
expect_run("at-once-$_", { status => 'COMPLETED' }, 'each on a connection of its own') foreach 1 .. 40;
wait_until('connections that are closed', sub { unread($port) == 40 });
foreach my $run (map { "after-$_" } 1 .. 6)
{
	enqueue($run, 'idle:echo');
	expect_run($run, { status => 'COMPLETED' }, 'none of them is used again');
}

my ($flood_port) = $flood =~ /:(\d+)/;
enqueue('first', 'flood:again');
expect_run('first', { status => 'COMPLETED', content => 'first' }, 'an answer');
wait_until('another one', sub { unread($flood_port) == 1 });
enqueue('next', 'flood:again', timeout => '20 s');
expect_run('next', { status => 'COMPLETED', content => 'first' }, 'is not that to the next request');

$node->stop;
done_testing();
