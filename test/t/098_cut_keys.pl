# No part of a key is stored that a server repeats: where the text of an error is
# cut in the middle of it, after a NUL, in the errors of streamed runs, in an answer
# that is cancelled in the middle of it, and in the ids and names of calls.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use Test::More;

my $key = 'sk-"very"-secret-0123456789';
my $listener = IO::Socket::INET->new(
	LocalAddr => '127.0.0.1',
	Listen => 100) or die "could not listen: $!";
my $port = $listener->sockport;
my $server = fork // die "could not fork: $!";

sub answer
{
	my ($model) = @_;
	my $json = JSON::PP->new->canonical;
	my $length = $model =~ /(\d+)$/ ? $1 : 0;

	return "x" x $length . $key x 50 if $model =~ /^plain/;
	return "\0 bad \0 $key" if $model =~ /^nul/;
	return $json->encode({ error => { message => 'x' x $length . $key x 50 } })
	  if $model =~ /^json/;
	return 'data: ' . $json->encode({ choices => [ { index => 0, delta => {
		content => 'The key is ' . substr($key, 0, -1) } } ] }) . "\n\n"
	  if $model =~ /^half/;
	my $call = { index => 0, id => "id-$key", type => 'function',
		function => { name => "f-$key", arguments => '{}' } };
	return 'data: ' . $json->encode({ choices => [ { index => 0,
		delta => { tool_calls => [$call] }, finish_reason => 'tool_calls' } ] })
	  . "\n\ndata: [DONE]\n\n";
}

if ($server == 0)
{
	local $SIG{CHLD} = 'IGNORE';
	while (my $socket = $listener->accept)
	{
		next if fork;
		my $request = '';
		1 while $request !~ /"model":"(\w+)"/
		  && $socket->sysread($request, 65536, length $request);
		my $model = $1;
		my $body = answer($model);
		my $status = $model =~ /^(half|call|odd)/ ? 200 : 400;
		my $more = $model =~ /^half/ ? 1 : 0;
		$body = answer("plain$1") if $model =~ /^odd(\d+)/;
		# it closes the connection, so no other request is to be sent on it
		$socket->syswrite("HTTP/1.1 $status X\r\nConnection: close\r\nContent-Length: "
			  . (length($body) + $more) . "\r\n\r\n$body");
		# what has not been read would break the connection
		$socket->shutdown(1) unless $more;
		1 while $socket->sysread($request, 65536);
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}

my $node = new_node('main', conf => "agno_bg.max_concurrent_runs = 20\n");
$node->safe_psql('postgres', qq(
	CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-chat', base_url 'http://127.0.0.1:$port/v1',
			retries '0');
	CREATE USER MAPPING FOR PUBLIC SERVER mock OPTIONS (api_key '$key');
	CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT 1::text';
	INSERT INTO agno.agents (agent_id, model, tools)
		VALUES ('caller', 'mock:call', '{f}')));

# The text of an error has 4,000 bytes, a bit less than that of what is in it
foreach my $stream ('off', 'on')
{
	foreach my $length (0, 3900 .. 3999)
	{
		enqueue("$_ $length $stream", "mock:$_$length", stream => $stream)
		  foreach $length % 4 ? ('json') : qw(json plain odd);
	}
	enqueue("nul $stream", 'mock:nul', stream => $stream);
}
enqueue('half', 'mock:half', stream => 'on');
$node->safe_psql('postgres', "SELECT agno_arun('call', agent_id => 'caller',
	run_id => 'call', stream => true, timeout => '10 s')");
$node->poll_query_until('postgres',
	"SELECT content <> '' FROM agno.runs WHERE run_id = 'half'")
  or die 'nothing is shown of an answer';
value("agno_cancel_run('half')");
expect_run('half', { status => 'CANCELLED', content => qr/^The key is / },
	'a run is cancelled in the middle of an answer');
$node->poll_query_until('postgres',
	'SELECT EXISTS (SELECT FROM agno.tool_calls)')
  or die 'no call is stored';
value("agno_cancel_run('call')");
$node->poll_query_until('postgres',
	'SELECT count(*) = 0 FROM agno.run_queue') or die 'some runs do not end';

is(value("count(*) FROM agno.runs WHERE status = 'ERROR'
		AND length(content) > 3000"),
	100 + 25 + 25 + 100 + 25, 'the texts of errors are long')
  or diag(value("string_agg(DISTINCT left(content, 100), E'\\n') FROM agno.runs
		WHERE length(content) < 3000"));
foreach my $table (
	split /\n/,
	$node->safe_psql(
		'postgres', "SELECT oid::regclass FROM pg_class
		WHERE relnamespace = 'agno'::regnamespace AND relkind IN ('r', 'v')"))
{
	my $rows = $node->safe_psql('postgres',
		"SELECT left(t::text, 100), substring(t::text, 'sk-[^x]{3,}.{0,20}')
		FROM $table t WHERE t::text ~ 'sk-.{0,4}ver'");
	is($rows, '', "no part of a key is in $table");
}

kill 'TERM', $server;
$node->stop;
done_testing();
