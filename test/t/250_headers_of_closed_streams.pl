# A server that goes on with headers of an answer that has been had, instead of the next one on
# that connection of HTTP/2, takes the runner no longer than a moment, though libcurl would
# read them as long as there are any. The server is mock/flooding_server.py; as much as
# agno_bg.max_response_size says is not yet too large.

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
my $node = new_node('main', conf => "agno_bg.max_response_size = '128MB'");
my $flood = start_flood('flood', "$dir/cert.pem", "$dir/key.pem");
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
add_mock_server($flood, name => 'flood', options => ", ca_file '$dir/cert.pem', retries '0'");
as('other', q(CALL agno_run('x', model => 'mock:echo')));

foreach my $round (1 .. 3)
{
	enqueue("closed-$round-first", 'flood:closed', role => 'greedy');
	expect_run("closed-$round-first", { status => 'COMPLETED', content => 'well' }, 'an answer');
	enqueue("closed-$round-second", 'flood:closed', role => 'greedy');
	cmp_ok(longest_until_ended('other', "closed-$round-second"), '<', 1.5, 'others do not wait for its headers, again and again');
	expect_run("closed-$round-second", { status => 'ERROR', "error->>'type'" => 'too_large' }, 'which end the next run');
}

$node->stop;
done_testing();
