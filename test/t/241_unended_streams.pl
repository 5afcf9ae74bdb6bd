# A streamed answer is whole with its last event: that the connection breaks after it, or
# stays open, as it may behind a proxy, does not matter.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $url = start_mock('mock');
foreach my $api ('openai-responses', 'openai-chat', 'anthropic')
{
	my $server = $api =~ s/-/_/gr;

	$node->safe_psql('postgres', qq(
		CREATE SERVER $server FOREIGN DATA WRAPPER agno_bg OPTIONS (api '$api', base_url '$url');
		CREATE USER MAPPING FOR PUBLIC SERVER $server OPTIONS (api_key 'sk-mock')));
	foreach my $kind ('cut', 'hang')
	{
		my ($id, $start) = ("$server-$kind", time);

		$node->safe_psql('postgres', "SELECT agno_arun('Hello', run_id => '$id', model => '$server:unended-$kind', stream => true)");
		expect_run($id, { status => 'COMPLETED', content => 'You said: Hello', attempt => 1, "(metrics->>'total_tokens')::integer > 0" => 'true' }, "$api, $kind");
		cmp_ok(time - $start, '<', 10, 'soon');
	}
}
is(() = mock_requests('mock'), 6, 'each was asked for once');

# A long one as well, of which a piece is read after the end.
add_mock_server(start_flood('flood'), name => 'flood', options => ", retries '0'");
foreach my $kb (200, 300, 500, 2000)
{
	enqueue("broken-$kb", "flood:broken-$kb", stream => 'on');
	expect_run("broken-$kb", { status => 'COMPLETED', 'length(content)' => $kb * 1000 }, "an answer of $kb kB is whole though its connection breaks");
}

$node->stop;
done_testing();
