# OpenAI's own background mode: the response is asked for until it is done, a
# crash does not pay for it twice, a cancel and a timeout are passed on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);

sub start
{
	my ($id, $model, %arguments) = @_;
	enqueue($id, $model, model_options => '{"background": true}', %arguments);
}

# The paths of all requests, by method, with ids left out.
sub paths
{
	my ($method) = @_;
	return map { $_->{path} =~ s/resp_\d+/ID/r }
	  grep { $_->{event} eq 'request' && $_->{method} eq $method } mock_log('mock');
}

start('work', 'work-700');
is(wait_run('work'), 'COMPLETED', 'done in the background');
is(value("content FROM agno.runs WHERE run_id = 'work'"),
	'You said: work', 'the answer');
is(value("metrics->'total_tokens' FROM agno.runs WHERE run_id = 'work'"),
	18, 'the tokens');
my ($request) = mock_requests('mock', 'work');
ok($request->{body}{background} && $request->{body}{store},
	'it is asked for, and to be kept');
is_deeply([ paths('POST') ], ['/v1/responses'], 'sent once');
cmp_ok(scalar(paths('GET')), '>', 1, 'asked for more than once');

# A crash: the response is not paid for again.
start('crash', 'work-3000');
ok( $node->poll_query_until(
		'postgres',
		"SELECT response_id IS NOT NULL FROM agno.run_requests WHERE run_id = 'crash'"),
	'the id is stored at once');
$node->stop('immediate');
$node->start;
is(wait_run('crash'), 'COMPLETED', 'completes after a crash');
is(value("attempt FROM agno.runs WHERE run_id = 'crash'"),
	2, 'in the second attempt');
is(scalar(mock_requests('mock', 'crash')), 1, 'and was sent once');

# A cancel is passed on.
start('cancel', 'work-60000');
$node->poll_query_until('postgres',
	"SELECT response_id IS NOT NULL FROM agno.run_requests WHERE run_id = 'cancel'");
is(value("agno_cancel_run('cancel')"), 't', 'cancelled');
is(wait_run('cancel'), 'CANCELLED', 'at once');
wait_until('the server to know',
	sub { grep { $_ eq '/v1/responses/ID/cancel' } paths('POST') });
pass('and passed on');

# One that is never done ends with the run's timeout.
start('late', 'work-60000', timeout => '1 s');
is(wait_run('late'), 'ERROR', 'the timeout of the run');
is(value("error->>'type' FROM agno.runs WHERE run_id = 'late'"),
	'timeout', 'is its own');
wait_until('the server to know',
	sub { 2 == grep { $_ eq '/v1/responses/ID/cancel' } paths('POST') });
pass('passed on, too');

# Not for servers that know of no such thing.
$node->safe_psql('postgres', "CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg
	OPTIONS (api 'openai-chat', base_url '$url')");
my ($ret, $out, $err) = $node->psql('postgres',
	"SELECT agno_arun('x', model => 'chat:m', model_options => '{\"background\": true}')");
like($err, qr/model_options must not set "background"/, 'openai-chat has none');

done_testing();
