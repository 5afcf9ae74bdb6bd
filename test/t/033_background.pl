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
is(wait_run('work'), 'COMPLETED', 'a run in background mode completes');
is(value("content FROM agno.runs WHERE run_id = 'work'"),
	'You said: work', 'the answer of a run in background mode is stored');
is(value("metrics->'total_tokens' FROM agno.runs WHERE run_id = 'work'"),
	18, 'the tokens of a run in background mode are counted');
my ($request) = mock_requests('mock', 'work');
ok($request->{body}{background} && $request->{body}{store},
	'the request asks for background mode, and for the response to be kept');
is_deeply([ paths('POST') ], ['/v1/responses'],
	'the request in background mode is sent once');
cmp_ok(scalar(paths('GET')), '>', 1,
	'the response is asked for more than once');

# A crash: the response is not paid for again.
start('crash', 'work-3000');
ok( $node->poll_query_until(
		'postgres',
		"SELECT response_id IS NOT NULL FROM agno.run_requests WHERE run_id = 'crash'"),
	'the id of the response is stored at once');
$node->stop('immediate');
$node->start;
is(wait_run('crash'), 'COMPLETED',
	'a run in background mode completes after a crash');
is(value("attempt FROM agno.runs WHERE run_id = 'crash'"),
	2, 'a run in background mode completes in its second attempt');
is(scalar(mock_requests('mock', 'crash')), 1,
	'a run in background mode is not sent again after a crash');

# A cancel is passed on.
start('cancel', 'work-60000');
$node->poll_query_until('postgres',
	"SELECT response_id IS NOT NULL FROM agno.run_requests WHERE run_id = 'cancel'");
is(value("agno_cancel_run('cancel')"), 't',
	'a run in background mode is cancelled');
is(wait_run('cancel'), 'CANCELLED',
	'a run in background mode that is cancelled ends CANCELLED');
wait_until('the server to know',
	sub { grep { $_ eq '/v1/responses/ID/cancel' } paths('POST') });
pass( 'the cancel is passed on to the server');

# One that is never done ends with the run's timeout.
start('late', 'work-60000', timeout => '1 s');
is(wait_run('late'), 'ERROR',
	'a run in background mode that passes its timeout ends in ERROR');
is(value("error->>'type' FROM agno.runs WHERE run_id = 'late'"),
	'timeout', 'the error is of type timeout');
wait_until('the server to know',
	sub { 2 == grep { $_ eq '/v1/responses/ID/cancel' } paths('POST') });
pass( 'the timeout is passed on to the server');

# Not for servers that know of no such thing.
$node->safe_psql('postgres', "CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg
	OPTIONS (api 'openai-chat', base_url '$url')");
my ($ret, $out, $err) = $node->psql('postgres',
	"SELECT agno_arun('x', model => 'chat:m', model_options => '{\"background\": true}')");
like($err, qr/model_options must not set "background"/,
	'background mode is refused for openai-chat');

done_testing();
