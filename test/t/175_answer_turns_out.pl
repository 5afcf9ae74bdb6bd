# A streamed answer that turns out otherwise than its pieces said, since it is stored
# without the fence around its JSON, or since the server says another thing at the end,
# is shown from its start. Once, it was shown from the byte where the pieces had ended,
# which may be within a character.

use strict;
use warnings;
use utf8;
use Encode qw(encode);
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
$node->safe_psql('postgres', "CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-chat', base_url '$url')");
my $schema = '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}';

# The input of the model "raw" is the answer, each line after a pause.
sub chat
{
	my @pieces = @_;
	return encode('UTF-8', join '', map({ qq(data: {"choices":[{"delta":{"content":"$_"}}]}\n\n) } @pieces),
		qq(data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n));
}
sub responses
{
	my ($end, @pieces) = @_;
	return encode('UTF-8', join '', map({ qq(data: {"type":"response.output_text.delta","delta":"$_"}\n\n) } @pieces),
		qq(data: {"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"text":"$end"}]}]}}\n\n));
}

# The pieces that count, whether others do not, and whether they are the answer.
sub expect_shown
{
	my ($id, $content, $retried) = @_;

	expect_run($id, { status => 'COMPLETED', content => encode('UTF-8', $content) }, "$id completes");
	is( value("string_agg(data->>'content', '' ORDER BY seq) FROM agno.run_events e WHERE run_id = '$id' AND event = 'RunContent'
		AND NOT EXISTS (SELECT FROM agno.run_events r WHERE r.run_id = e.run_id AND r.seq > e.seq AND r.event = 'RunRetried')"),
		encode('UTF-8', $content), "$id: what is shown is the answer");
	is(value("count(*) FROM agno.run_events WHERE run_id = '$id' AND event = 'RunRetried'"), $retried, "$id: from its start, or not");
	is(value("count(*) FROM agno.run_events WHERE run_id = '$id' AND data::text <> convert_from(convert_to(data::text, 'UTF8'), 'UTF8')"),
		0, "$id: all that is stored can be restored");
}

enqueue('fence', 'chat:raw-400', stream => 'on', output_schema => $schema,
	input => chat('\n```json\n{\"a\":\"éééé', 'éééééééééé\"}\n```\n'));
enqueue('swapped', 'raw-400', stream => 'on', input => responses('aéééééééé', 'abcd'));
enqueue('shorter', 'raw-400', stream => 'on', input => responses('é', 'é, but'));
enqueue('same', 'raw-400', stream => 'on', input => responses('éa, éb', 'éa', ', éb'));
enqueue('longer', 'raw-400', stream => 'on', input => responses('éa, éb, éc', 'éa', ', éb'));
enqueue('silent', 'raw-400', stream => 'on', input => responses('ééé'));
expect_shown('fence', '{"a":"éééééééééééééé"}', 1);
expect_shown('swapped', 'aéééééééé', 1);
expect_shown('shorter', 'é', 1);
expect_shown('same', 'éa, éb', 0);
expect_shown('longer', 'éa, éb, éc', 0);
expect_shown('silent', 'ééé', 0);

$node->stop;
done_testing();
