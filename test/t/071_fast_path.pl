# agno_arun can be called with a function call message of the protocol, as PQfn()
# of libpq sends, which says nothing about the types of the arguments. With any
# arguments, it is accepted as in SQL, and the server goes on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('a');
my $function = value("'agno_arun'::regproc::oid");

sub read_bytes
{
	my ($socket, $count) = @_;
	my $bytes = '';

	while (length $bytes < $count)
	{
		sysread($socket, $bytes, $count - length $bytes, length $bytes)
		  or return;
	}
	return $bytes;
}

# The messages up to ReadyForQuery: their types and contents.
sub answers
{
	my ($socket) = @_;
	my @answers;

	while (defined(my $head = read_bytes($socket, 5)))
	{
		my ($type, $length) = unpack 'aN', $head;
		push @answers, $type, read_bytes($socket, $length - 4);
		return @answers if $type eq 'Z';
	}
	return (@answers, 'the connection is lost', '');
}

# Call agno_arun as the role a with these arguments, by their numbers.
sub call
{
	my (%arguments) = @_;
	my $socket =
	  IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port)
	  or die "no socket: $!";
	my $message = pack('N', 196608) . "user\0a\0database\0postgres\0\0";

	syswrite $socket, pack('N', 4 + length $message) . $message;
	answers($socket);
	$message = pack 'Nnnn', $function, 1, 0, 17;
	$message .= defined $_ ? pack('N/a*', $_) : pack('N', 0xffffffff)
	  foreach map { $arguments{$_} } (0 .. 16);
	$message .= pack 'n', 0;
	syswrite $socket, 'F' . pack('N', 4 + length $message) . $message;
	return join ' ', answers($socket);
}

my %base = (0 => 'x', 5 => 'mock:echo');
like(call(%base), qr/PENDING/, 'the fast path executes a call without a key');
like(call(%base, 15 => 'k1'), qr/PENDING/,
	'the fast path executes a call with a key');
like(call(%base, 15 => 'k2', 10 => 't', 11 => '7', 14 => '2'),
	qr/PENDING/,
		'the fast path executes a call with values that are no pointers');
like(call(%base, 15 => 'k3', 13 => '1 min', 8 => '{"a": 1}'),
	qr/PENDING/,
		'the fast path executes a call with an interval and an object');
my ($id) = call(%base, 15 => 'k4', 11 => '7') =~ /([0-9a-f-]{36})/;
is(as('a', "SELECT run_id FROM agno_arun('x',
		model => 'mock:echo', priority => 7, idempotency_key => 'k4')"),
	$id // 'none', 'the same call in SQL returns the same run');
unlike(slurp_file($node->logfile), qr/terminated by signal/,
	'no process of the server crashes');

$node->stop;
done_testing();
