# A model's calls, and what a server says beside them, have objects of very many
# members: they do not become jsonb, since there is an order of members that PostgreSQL
# takes the square of their number to sort, and the runner would do nothing else.

use strict;
use warnings;
use FindBin;
use JSON::PP;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $most = 1000;
my $node = new_node('main', conf => "agno_bg.max_input_size = '20MB'\n");
my $url = start_mock('mock');
add_mock_server($url);
make_user('app');
$node->safe_psql('postgres', qq(CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-chat', base_url '$url');
	CREATE SERVER claude FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'anthropic', base_url '$url'); GRANT USAGE ON FOREIGN SERVER chat, claude TO app;
	CREATE FUNCTION count_of(x jsonb) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM jsonb_object_keys(x)'));
as('app', q(INSERT INTO agno.agents (agent_id, model, tools) SELECT s, s || ':tools', '{public.count_of}' FROM unnest('{mock,chat,claude}'::text[]) s;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('raw', 'mock:raw', '{public.count_of}')));

sub object { return { map { ("k$_" => $_) } 1 .. $_[0] }; }
foreach my $api (qw(mock chat claude))
{
	foreach my $stream (\'false', \'true')
	{
		my $id = "$api-$$stream";
		call_tools($id, $api, [ [ [ count_of => { x => object($most) } ], [ count_of => { x => object($most + 1) } ] ] ], role => 'app', stream => $stream);
		expect_run($id, { status => 'COMPLETED' }, "$id ends");
		is(as('app', "SELECT string_agg(status || ' ' || COALESCE(result, split_part(error, E'\\n', 1)), ', ' ORDER BY call_no) FROM agno.tool_calls WHERE run_id = '$id'"),
			"completed $most, refused Function arguments have an object of more than $most members.", 'of calls, the model is told');
		is(value("position('Please use an array, or several calls, and retry' IN messages::text) > 0 FROM agno.runs WHERE run_id = '$id'"), 't', 'what to do');
	}
}

# What a server says beside calls is not kept if it is too much, and the run goes on.
foreach my $count ($most, $most + 1, 300000)
{
	my $answer = encode_json({ id => 'r', status => 'completed', output => [ { type => 'reasoning', more => object($count) },
		{ type => 'function_call', id => 'f', call_id => 'c', name => 'count_of', arguments => '{"x": {"a": 1}}' } ] });
	as('app', "SELECT agno_arun('$answer', 'raw', run_id => 'items-$count')");
	expect_run("items-$count", { status => 'COMPLETED' }, "an answer with an object of $count members is one");
	is(value("bool_or(m -> 'provider_data' ? 'output') FROM agno.runs, jsonb_array_elements(messages) m WHERE run_id = 'items-$count' AND m ->> 'role' = 'assistant'"),
		$count == $most ? 't' : 'f', $count == $most ? 'which is kept' : 'which is not kept as it came');
}
$node->stop;
done_testing();
