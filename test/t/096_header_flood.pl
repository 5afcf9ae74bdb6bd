# A server that sends headers without end fails its run and takes no memory,
# wherever they are: before the answer (1xx), in it, or after the body, or a single
# line, or very many short ones; nor is it asked again when it may not be. What has no headers at all (HTTP/0.9)
# is none of its answers. The server is a few lines of Perl, since no decent one does
# that.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use Test::More;

my @lines = map { "X-A$_: " . ('y' x 2000) . "\r\n" } 1 .. 50;
my $flood = join '', @lines;
my %answers = (
	early => [ '', "HTTP/1.1 103 Early Hints\r\n$flood\r\n" ],
	line => [ "HTTP/1.1 200 OK\r\nX: ", 'y' x 100_000 ],
	old => [ '', 'What is this? ' x 1000 ],
	headers => [ "HTTP/1.1 200 OK\r\n", $flood ],
	many => [ "HTTP/1.1 200 OK\r\n" . "a:\r\n" x 2500 . "Content-Length: 2\r\n\r\n{}", '' ],
	trailers => [
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
		$flood ]);

my $listener = IO::Socket::INET->new(
	LocalAddr => '127.0.0.1',
	Listen => 100) or die "could not listen: $!";
my $port = $listener->sockport;
my $server = fork // die "could not fork: $!";
if ($server == 0)
{
	local $SIG{PIPE} = 'IGNORE';
	local $SIG{CHLD} = 'IGNORE';
	while (my $socket = $listener->accept)
	{
		next if fork;
		my $request = '';
		1 while $request !~ /"model":"(\w+)"/
		  && $socket->sysread($request, 65536, length $request);
		my ($first, $rest) = @{ $answers{$1} };
		$socket->syswrite($first);
		# up to 200 MB
		foreach (1 .. 2000)
		{
			last unless $socket->syswrite($rest);
		}
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}

my $node = new_node('main');
add_mock_server("http://127.0.0.1:$port/v1", options => ", retries '0'");
my $before = status_of(runner_pid(), 'VmRSS');
foreach my $kind (sort keys %answers)
{
	foreach my $number (1 .. 5)
	{
		enqueue("$kind$number", "mock:$kind",
			stream => $number % 2 ? 'on' : 'off');
	}
}
foreach my $kind (sort keys %answers)
{
	expect_run(
		"$kind$_",
		{
			status => 'ERROR',
			"error->>'type'" => $kind eq 'old' ? 'invalid_response' : qr/too_large|connection/ },
		"run $_ with endless headers ($kind) fails") foreach 1 .. 5;
}
expect_run(
	'trailers1',
	{ content => 'the headers of the answer are longer than 256 kB' },
	'the error says what was too long');
expect_run('old1', { content => 'the answer of the model server cannot be read: Received HTTP/0.9 when not allowed' },
	'or what was no answer');
is(logged('could not open a connection'), 0, 'nothing is said to be lacking');
my $growth = status_of(runner_pid(), 'VmRSS') - $before;
note("the runner has grown by $growth kB");
cmp_ok($growth, '<', 30_000, 'they take no memory');

kill 'TERM', $server;
$node->stop;
done_testing();
