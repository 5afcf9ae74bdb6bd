# Whatever a model server answers, the run ends in ERROR with the server's own
# message and an error object, and no other run is harmed. Texts with NUL,
# lone surrogates and invalid UTF-8 are kept readable.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_response_size = 64kB\n");
my $url = start_mock('mock');
add_mock_server($url, options => ", retries '0', timeout '3s'");

# A port that nobody listens on, and a host that does not exist.
my $free_port = PostgreSQL::Test::Cluster::get_free_port();
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER closed FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://127.0.0.1:$free_port/v1', retries '0',
			unreachable_patience '0');
	CREATE SERVER nowhere FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://nowhere.invalid/v1', retries '0',
			unreachable_patience '0')));

# model, type, http_status, what the content is like
my @cases = (
	[ 'mock:status-400', 'provider', 400, '^mock error 400$' ],
	[ 'mock:status-401', 'provider', 401, '^mock error 401$' ],
	[ 'mock:status-404', 'provider', 404, '^mock error 404$' ],
	[ 'mock:status-429', 'provider', 429, '^mock error 429$' ],
	[ 'mock:status-500', 'provider', 500, '^mock error 500$' ],
	[ 'mock:html-502', 'provider', 502, 'HTTP status 502: <html>.*Gateway' ],
	[ 'mock:html-403', 'provider', 403, 'HTTP status 403: <html>.*Gateway' ],
	[ 'mock:html-200', 'invalid_response', 200, 'not a JSON answer: <html>' ],
	[ 'mock:badjson', 'invalid_response', 200, 'not a JSON answer' ],
	[ 'mock:empty', 'invalid_response', 200, 'not a JSON answer' ],
	[ 'mock:error-200', 'provider', 200, '^mock error 200$' ],
	[ 'mock:failed', 'provider', 200, '^The model failed to generate.$' ],
	[ 'mock:cut', 'connection', 200, 'broke' ],
	[ 'mock:drop', 'connection', '', 'broke' ],
	[ 'mock:hang', 'timeout', '', 'did not answer in time' ],
	[ 'mock:huge-80', 'too_large', 200, 'max_response_size' ],
	[ 'mock:deep-2000', 'invalid_response', 200, 'not a JSON answer' ],
	[ 'mock:redirect', 'provider', 307, 'redirect' ],
	[ 'closed:x', 'connection', '', 'refused|Failed to connect' ],
	[ 'nowhere:x', 'connection', '', 'resolve' ],);

foreach my $case (@cases)
{
	$node->safe_psql('postgres',
		"SELECT agno_arun('bad', model => '$case->[0]', run_id => '$case->[0]')"
	);
}
# Good runs among them.
$node->safe_psql('postgres',
	"SELECT agno_arun('good', model => 'mock:slow-10', run_id => 'good' || i) "
	  . "FROM generate_series(1, 20) i");

foreach my $case (@cases)
{
	my ($model, $type, $status, $content) = @$case;
	is(wait_run($model), 'ERROR', "$model ends in ERROR");
	is(value("error->>'type', error->>'http_status',
			error->>'attempt', error->>'message' = content,
			finished_at IS NOT NULL, metrics ? 'duration',
			messages->0->>'content'
			FROM agno_get_run_output('$model')"),
		"$type|$status|1|t|t|t|bad",
		"$model has an error object");
	like(value("content FROM agno_get_run_output('$model')"),
		qr/$content/s,
		"$model says why");
}
is(value("count(*) FROM agno.runs
		WHERE input = 'good' AND status = 'COMPLETED'"),
	20,
	'no other run is harmed');

# An incomplete answer keeps what there is.
enqueue('incomplete', 'incomplete', input => 'i');
is(wait_run('incomplete'), 'ERROR', 'an incomplete answer ends in ERROR');
is(value("content, error->>'type', error->>'message',
		metrics->'output_tokens', messages->1->>'content'
		FROM agno_get_run_output('incomplete')"),
	'Half an ans|incomplete|the answer is incomplete: max_output_tokens|7|Half an ans',
	'an incomplete answer is kept');

# Bytes that no text can hold.
enqueue('hostile', 'hostile', input => 'h');
is(wait_run('hostile'), 'COMPLETED',
	'a run with hostile bytes in its answer completes');
is( $node->safe_psql(
		'postgres', "SELECT replace(content, U&'\\FFFD', '#')
		FROM agno_get_run_output('hostile')"),
	'nul # high # low # raw ##.',
	'hostile bytes are stored readable');

# Just within the limit.
enqueue('large', 'huge-62', input => 'h');
is(wait_run('large'), 'COMPLETED', 'an answer just within the limit is stored');

is(value("pid FROM pg_stat_activity WHERE backend_type = 'agno_bg runner'"),
	runner_pid(), 'the runner is alive after hostile answers');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC/,
	'no process has crashed from hostile answers');
$node->stop;
done_testing();
