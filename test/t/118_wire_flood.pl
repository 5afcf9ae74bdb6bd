# A server that sends without end what is no part of an answer fails its run, and
# takes the runner no longer than that, though libcurl itself would read HTTP/2 as long
# as there is anything, and never come back: extensions of chunks, chunks of a byte, empty
# pieces of compressed data, and frames of HTTP/2 that have nothing in them. The server
# is mock/flooding_server.py.

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

my %urls;
my $node = new_node('main', conf => "agno_bg.max_response_size = '1MB'\nagno_bg.request_timeout = '1h'\n");
foreach my $kind ('one', 'two')
{
	my @options = $kind eq 'two' ? ("$dir/cert.pem", "$dir/key.pem") : ();
	$urls{$kind} = start_flood($kind, @options);
	my $where = "base_url '$urls{$kind}'" . (@options ? ", ca_file '$dir/cert.pem'" : '');
	$node->safe_psql('postgres', "CREATE SERVER $kind FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', retries '0', $where)");
}

my %too_large = (status => 'ERROR', "error->>'type'" => 'too_large', 'left(content, 80)' => 'the answer is longer than agno_bg.max_response_size');
sub expect_quiet
{
	my ($name) = @_;
	cmp_ok(busy(runner_pid(), 1), '<', 0.1, $name);
}

# HTTP/1.1
foreach my $kind ('extension', 'gzip', 'ones-1000000')
{
	enqueue("$kind-$_", "one:$kind", stream => $_ % 2 ? 'on' : 'off') foreach 1 .. 4;
	expect_run("$kind-$_", \%too_large, "a server cannot send without end: $kind") foreach 1 .. 4;
}
enqueue('few', 'one:ones-200000');
expect_run('few', { status => 'COMPLETED' }, 'chunks of a byte are an answer as long as they are not too many');
expect_quiet('nothing goes on then');

# The handshake of TLS
add_mock_server(start_mock('mock'));
my $hello = $urls{one} =~ s/^http/https/r;
$node->safe_psql('postgres', "CREATE SERVER hello FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', retries '0', base_url '$hello')");
enqueue("hello-$_", 'hello:m', timeout => '10 min') foreach 1 .. 4;
enqueue("beside-$_", 'echo') foreach 1 .. 4;
expect_run("beside-$_", { status => 'COMPLETED' }, 'a handshake without end keeps nobody else') foreach 1 .. 4;
expect_run("hello-$_", { status => 'ERROR' }, 'and is ended') foreach 1 .. 4;
expect_quiet('with it, all of it');

# HTTP/2
enqueue('well', 'two:well');
expect_run('well', { status => 'COMPLETED', content => 'well' }, 'a server that speaks HTTP/2 answers');
# The connection is broken then: one run, at least, is told why, others share it.
foreach my $round (1 .. 4)
{
	foreach my $kind ('ping', 'empty')
	{
		my $id = "$kind-$round";
		enqueue("$id-$_", "two:$kind") foreach 1 .. 4;
		expect_run("$id-$_", { status => 'ERROR', "error->>'type'" => qr/^(too_large|connection)$/ }, "nor with HTTP/2: $id") foreach 1 .. 4;
	}
}
cmp_ok(value("count(*) FROM agno.runs WHERE run_id ~ '^(ping|empty)' AND error->>'type' = 'too_large'"), '>', 0, 'for that reason');
enqueue('again', 'two:well');
expect_run('again', { status => 'COMPLETED', content => 'well' }, 'what the server answers after that is an answer');
expect_quiet('nothing goes on then, either');

$node->stop;
done_testing();
