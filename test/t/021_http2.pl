# HTTP/2 where the server offers it: hundreds of runs share a few connections.
# An https server that speaks only HTTP/1.1 gets a connection for each run.

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

my $node = new_node('main');
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER two FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'https://127.0.0.1:$port/v1',
			ca_file '$dir/cert.pem');
	CREATE SERVER one FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$https', ca_file '$dir/cert.pem')));

# All at once, and each takes a while.
$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 300) i, "
	  . "agno_arun('two', model => 'two:slow-500', run_id => 'two' || i)");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 300 FROM agno.runs
		WHERE input = 'two' AND status = 'COMPLETED'"),
	'300 runs complete over HTTP/2');
my %connections;
my $multiplexed = 0;
foreach my $line (split /\n/, slurp_file("$dir/access.log"))
{
	my ($connection, $protocol, $status) = split / /, $line;
	$connections{$connection} = 1;
	$multiplexed++ if $protocol eq 'HTTP/2.0' && $status eq '200';
}
is($multiplexed, 300, 'all requests come over HTTP/2');
cmp_ok(scalar(keys %connections), '<=', 4, 'at most four connections are made');

# A cancel resets its own stream and no other.
$node->safe_psql(
	'postgres', "
	SELECT agno_arun('hang', model => 'two:hang', run_id => 'hang');
	SELECT agno_arun('slow', model => 'two:slow-1500', run_id => 'slow')");
wait_until('the requests',
	sub { mock_count('mock', 'hang') && mock_count('mock', 'slow') });
$node->safe_psql('postgres', "SELECT agno_cancel_run('hang')");
is(wait_run('hang'), 'CANCELLED', 'a stream of a connection is cancelled');
wait_until('its end at the server',
	sub { grep { $_->{event} eq 'closed' } mock_log('mock') });
is(wait_run('slow'), 'COMPLETED',
	'the neighbour of a cancelled stream completes');

# HTTP/1.1 over TLS: all at once.
$node->safe_psql('postgres',
	"SELECT agno_arun('one', model => 'one:echo', run_id => 'one')");
is(wait_run('one'), 'COMPLETED',
	'runs of an https server without HTTP/2 complete');
$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 100) i, "
	  . "agno_arun('many', model => 'one:slow-2000', run_id => 'many' || i)");
wait_until('100 requests', sub { 100 == mock_count('tls', 'many') });
is(scalar(grep { $_->{event} eq 'answered' } mock_log('tls')),
	1, 'an https server without HTTP/2 gets all runs at once');

$node->stop;
done_testing();
