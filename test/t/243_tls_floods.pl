# A server that sends tickets of TLS faster than they are understood, or requests for another
# handshake, takes the runner no longer than anything else that arrives, though OpenSSL
# itself would read on as long as there are some: instead of an answer, and on the idle
# connection after one. The server is mock/tls_server.py. Neither can it choose what takes
# the client long.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
make_certificate();
my $node = new_node('main');
my %url = map { $_ => start_server($_, 'tls_server.py', "$dir/cert.pem", "$dir/key.pem", 15, $_ eq 'tickets' ? () : $_) } 'tickets', 'hello', 'bytes';
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
$node->safe_psql('postgres', qq(
	CREATE SERVER $_ FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-responses', base_url '$url{$_}', ca_file '$dir/cert.pem', retries '0');
	GRANT USAGE ON FOREIGN SERVER $_ TO greedy)) foreach keys %url;
as('other', q(CALL agno_run('x', model => 'mock:echo')));

# Those that idle are looked at when the next one is opened: not at so many records.
# (The second run when the server has said that a connection takes one.)
enqueue('idle-1', 'bytes:idle', role => 'greedy', timeout => '2 min');
wait_until('the first request', sub { -e "$dir/bytes.port.asked" });
enqueue('idle-2', 'bytes:idle', role => 'greedy', timeout => '2 min');
expect_run("idle-$_", { status => 'COMPLETED', content => 'well' }, 'a connection idles') foreach 1, 2;
append_to_file("$dir/bytes.port.go", '');
wait_until('sockets that are full', sub { 2 == (() = glob("$dir/bytes.port.full.*")) });
enqueue('resets', 'bytes:resets', role => 'greedy', timeout => '60 s');
# (Newer versions of libcurl read that in the name of the run that is sent meanwhile.)
wait_run('resets');
expect_run('resets', libcurl_major() < 8 ? { status => 'COMPLETED', content => '2 resets' } :
	  { "content = '2 resets' OR error->>'type' = 'too_large'" => 'true' }, 'what says too much is cut off');

foreach my $kind ('tickets', 'hello')
{
	enqueue("$kind-now", "$kind:now", role => 'greedy');
	cmp_ok(longest_until_ended('other', "$kind-now"), '<', 3, "$kind: others do not wait for a flood");
	expect_run("$kind-now", { status => 'ERROR', "error->>'type'" => 'too_large' }, 'which is ended');

	# The second may be sent on the idle connection, or not.
	foreach my $run (map { "$kind-idle-$_" } 1 .. 3)
	{
		enqueue($run, "$kind:idle", role => 'greedy', timeout => '20 s');
		cmp_ok(longest_until_ended('other', $run), '<', 3, 'nor for one on an idle connection');
	}
	expect_run("$kind-idle-1", { status => 'COMPLETED' }, 'what comes before it is an answer');
}

# What a server may make as expensive as it likes is not even offered, nor parsed.
my $sign = "openssl ecparam -name prime256v1 -param_enc explicit -genkey -out $dir/curve.key 2>/dev/null"
  . " && openssl req -x509 -new -key $dir/curve.key -subj /CN=curve -days 2 -out $dir/curve.pem 2>/dev/null";
system_or_bail('sh', '-c', $sign);
my $cert = slurp_file("$dir/cert.pem");
append_to_file("$dir/$_.pem", $cert x $_) foreach 15, 16;
# (A server that takes leave may do so before its alert has been read.)
my $refusal = qr/handshake failure|connection to the model server broke/;
my %refused = (
	(map { ("17 certificates$_" => [ qr/SSL routines|certificate/, $_, '-cert_chain', "$dir/16.pem" ],
			"16 certificates$_" => [ qr/HTTP\/0.9|answer of the model server cannot be read/, $_, '-cert_chain', "$dir/15.pem" ]) } '-tls1_2', '-tls1_3'),
	'a finite field' => [ $refusal, '-tls1_2', '-cipher', 'DHE-RSA-AES256-GCM-SHA384' ],
	'a finite group' => [ $refusal, '-tls1_3', '-groups', 'ffdhe2048' ],
	'a curve of its own' => [ qr/SSL routines|certificate/, '-cert_chain', "$dir/curve.pem" ]);
foreach my $kind (sort keys %refused)
{
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my ($error, @options) = @{ $refused{$kind} };

	start_program('openssl', 's_server', '-quiet', '-rev', '-accept', $port, '-cert', "$dir/cert.pem", '-key', "$dir/key.pem", @options);
	wait_until('openssl', sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) });
	$node->safe_psql('postgres', "ALTER SERVER hello OPTIONS (SET base_url 'https://127.0.0.1:$port/v1')");
	enqueue($kind, 'hello:m', role => 'greedy', timeout => '20 s');
	expect_run($kind, { status => 'ERROR', "error->>'message'" => $error }, "$kind ends as it should");
}

$node->stop;
done_testing();
