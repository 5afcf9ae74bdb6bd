# A key that a server repeats is not stored when it is written with the escapes of
# JSON either, wherever in an answer that is.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $key = 'sk-test/key&0123456789';
my $escaped = '\u0073k-test\/key\u00260123456789';
my $twice = $escaped =~ s/\\/\\\\/gr;
my $node = new_node('main');
my $url = start_mock('mock');
$node->safe_psql('postgres', qq(
	CREATE SERVER raw FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', base_url '$url');
	CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-chat', base_url '$url');
	CREATE USER MAPPING FOR PUBLIC SERVER raw OPTIONS (api_key '$key');
	CREATE USER MAPPING FOR PUBLIC SERVER chat OPTIONS (api_key '$key');
	CREATE FUNCTION tell(it text) RETURNS text LANGUAGE sql AS 'SELECT ''told''';
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('caller', 'raw:raw', '{public.tell}')));

# The input of the model "raw" is the answer.
sub response
{
	return qq({"id":"$escaped","status":"completed","output":[@{[ join ',', @_ ]}]});
}
my $call = qq({"type":"function_call","id":"$escaped","call_id":"c","name":"tell","arguments":"{\\"it\\":\\"$twice\\"}"});
my $thought = qq({"type":"reasoning","note":"$escaped","summary":[{"text":"$escaped"}]});
my $said = qq({"type":"message","content":[{"text":"It is $escaped"}]});
my $json = qq({"type":"message","content":[{"text":"{\\"it\\":\\"$twice\\"}"}]});
my %status = map { $_ => 'COMPLETED' } qw(said thought call other json piece);
@status{qw(error bad reason)} = ('ERROR') x 3;

enqueue('said', 'raw:raw', input => response($said));
enqueue('thought', 'raw:raw', input => response($thought));
$node->safe_psql('postgres', "SELECT agno_arun(\$\$" . response($thought, $call) . "\$\$, agent_id => 'caller', run_id => 'call', session_id => 'call')");
enqueue('other', 'raw:raw', input => response($call));
enqueue('json', 'raw:raw', input => response($json), output_schema => '{"type":"object"}');
enqueue('piece', 'chat:raw', stream => 'on', input => qq(data: {"choices":[{"delta":{"content":"$escaped"},"finish_reason":"stop"}]}\n\n));
enqueue('error', 'raw:raw', input => qq({"error":{"message":"not $escaped"}}));
enqueue('bad', 'raw:raw', input => qq({"status":"$escaped"}));
enqueue('reason', 'chat:raw', input => qq({"error":{"reason":"unknown key $escaped"}}));
enqueue('id', 'raw:raw', input => qq({"id":"$escaped","status":"queued"}), model_options => '{"background": true}', timeout => '2 s');
ok($node->poll_query_until('postgres', "SELECT response_id = '***' FROM agno.run_requests WHERE run_id = 'id'"),
	'no key is the id of a response');
expect_run($_, { status => $status{$_} }, "the run ends: $_") foreach sort keys %status;
expect_run('said', { content => 'It is ***' }, 'the key is hidden');
is(value("content::jsonb->>'it' FROM agno.runs WHERE run_id = 'json'"), '***', 'in JSON, too');
is(value("arguments->>'it' FROM agno.tool_calls WHERE run_id = 'call'"), '***', 'and in the arguments of a call');
like(value("error->>'message' FROM agno.runs WHERE run_id = 'reason'"), qr/unknown key \*\*\*"/, 'and where no message is found');
foreach my $table (split /\n/,
	$node->safe_psql('postgres', "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'agno'::regnamespace AND relkind IN ('r', 'v')"))
{
	is(value("count(*) FROM $table t WHERE strpos(t::text, '0123456789') > 0 AND strpos(t::text, '$key') > 0"), 0, "no key is in $table");
}
expect_run('id', { status => 'ERROR' }, 'the last one ends');

$node->stop;
done_testing();
