# What is compressed more than once is not read: libcurl would undo all of it in one
# go, and 57 kB may come to 20 GB of nothing, which keeps the runner for minutes, from
# its timeouts and from the server's stop as well. The server is mock/flooding_server.py.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $flood = start_flood('flood');
my $node = new_node('main');
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', "CREATE SERVER coded FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', base_url '$flood')");

enqueue('once', 'coded:once');
expect_run('once', { status => 'COMPLETED', content => 'once' }, 'an answer may be compressed');
my %unreadable = (status => 'ERROR', "error->>'type'" => 'invalid_response',
	content => 'the answer of the model server cannot be read: it is compressed more than once, to less than a hundredth, or neither by gzip nor by deflate');
foreach my $kind (qw(twice lines zstd nonsense inflated))
{
	enqueue($kind, "coded:$kind");
	expect_run($kind, \%unreadable, "but not like this: $kind");
}

# Newer versions of libcurl break the connection themselves.
enqueue('transfer', 'coded:transfer');
expect_run('transfer', libcurl_major() < 8 ? \%unreadable :
	  { status => 'ERROR', "error->>'type' IN ('invalid_response', 'connection')" => 'true' }, 'nor if that is how it is transferred');

enqueue("nested-$_", 'coded:nested', stream => $_ % 2 ? 'on' : 'off') foreach 1 .. 4;
my $start = time;
enqueue('beside', 'echo');
expect_run('beside', { status => 'COMPLETED' }, 'what is nothing in the end keeps nobody else');
expect_run("nested-$_", \%unreadable, 'nor is it read') foreach 1 .. 4;
cmp_ok(time - $start, '<', 5, 'and that takes no time');

$node->stop;
done_testing();
