# Structured answers: the schema goes to the model server, the answer is
# checked against it. The faults: answers that do not fit, once and always,
# answers that are no JSON, and cuts and cancels in between.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

my $schema = '{"type": "object", "title": "A person", "properties": '
  . '{"name": {"type": "string"}, "age": {"type": "integer"}}, '
  . '"required": ["name", "age"], "additionalProperties": false}';

# Returns status, content_type and content.
sub ask
{
	my ($id, $model, $arguments) = @_;
	$node->safe_psql('postgres',
		"SELECT agno_arun('Who? $id', model => 'mock:$model', "
		  . "run_id => '$id', $arguments)");
	wait_run($id);
	return $node->safe_psql('postgres',
		"SELECT status, content_type, content FROM agno.runs "
		  . "WHERE run_id = '$id'");
}

is( ask('good', 'echo', "output_schema => '$schema'"),
	'COMPLETED|dict|{"age": 7, "name": "text"}',
	'an answer that fits its schema completes the run');
my ($request) = mock_requests('mock', 'Who? good');
is_deeply(
	$request->{body}{text},
	{
		format => {
			type => 'json_schema',
			name => 'A_person',
			strict => JSON::PP::true,
			schema => JSON::PP::decode_json($schema)
		}
	},
	'the request has the schema, and asks to be strict');
is(value("agno_run_output_dict('good') #> '{content,age}'"),
	'7', 'the content is an object for Agno');

ask('loose', 'echo',
	"output_schema => '{\"type\": \"object\"}', "
	  . "model_options => '{\"text\": {\"verbosity\": \"low\"}, \"top_p\": 1}'");
($request) = mock_requests('mock', 'Who? loose');
ok(!$request->{body}{text}{format}{strict},
	'a schema with optional properties is not sent as strict');
is($request->{body}{text}{format}{name}, 'output',
	'a schema without a title is named output');
is($request->{body}{text}{verbosity}, 'low', 'other options of text are kept');
is($request->{body}{top_p}, 1, 'other options of the model are kept');

ask('envelope', 'echo',
	"output_schema => '{\"type\": \"json_schema\", \"json_schema\": "
	  . "{\"name\": \"person\", \"schema\": $schema, \"strict\": false}}'");
($request) = mock_requests('mock', 'Who? envelope');
is_deeply(
	[ @{ $request->{body}{text}{format} }{qw(name strict)} ],
	[ 'person', JSON::PP::false ],
	'the envelope that Agno knows is taken as it is');
is(run_status('envelope'), 'COMPLETED', 'a run with an envelope completes');

# An answer that does not fit: once more, with the reason.
is( ask('second', 'misfit-1', "output_schema => '$schema'"),
	'COMPLETED|dict|{"age": 7, "name": "text"}',
	'a second answer that fits completes the run');
is(value("jsonb_path_query_array(messages, '\$[*].role') FROM agno.runs "
		  . "WHERE run_id = 'second'"),
	'["user", "assistant", "user", "assistant"]',
	'the messages have both answers');
is(value("messages->2->>'content' FROM agno.runs WHERE run_id = 'second'"),
	'Your answer does not fit the required JSON schema: '
	  . 'at /: the property "name" is missing. '
	  . 'Answer again, with nothing but JSON that fits the schema.',
	'the model is told why');
is(value("metrics->'total_tokens' FROM agno.runs WHERE run_id = 'second'"),
	'36', 'the metrics count both answers');

# Never an answer that fits.
is( ask('never', 'misfit-9', "output_schema => '$schema'"),
	'ERROR|str|{"misfit": true}',
		'the content is the answer that does not fit');
is(value("error FROM agno.runs WHERE run_id = 'never'"),
	'{"type": "output_schema", "attempt": 1, "message": '
	  . '"the answer does not fit the output schema: at /: the property '
	  . '\"name\" is missing", "http_status": null}',
	'the error says what does not fit');
is(scalar(mock_requests('mock', 'Who? never')), 1, 'the input is sent once');
is( scalar(
		grep { @{ $_->{body}{input} } > 1 && $_->{body}{input}[0]{content} eq 'Who? never' }
		  mock_requests('mock')),
	1,
	'the correction is sent once');
is(value("agno_run_output_dict('never')->>'content'"),
	'{"misfit": true}', 'for Agno, the content is a text');
is( ask('text', 'status-400', "output_schema => '$schema'"),
	'ERROR|str|mock error 400', 'an error of the server is no misfit');
like( ask('page', 'reasoning', "output_schema => '$schema'"),
	qr/^ERROR\|str\|42$/, 'an answer of another JSON type does not fit');
is( ask('cut', 'incomplete', "output_schema => '$schema'"),
	'ERROR|str|Half an ans', 'an answer that is cut is kept');
is(value("error->>'type' FROM agno.runs WHERE run_id = 'cut'"),
	'incomplete', 'an answer that is cut is incomplete, not repeated');

# The agent's schema, and the run's instead of it.
$node->safe_psql('postgres',
	"INSERT INTO agno.agents (agent_id, model, markdown, output_schema) "
	  . "VALUES ('person', 'mock:echo', true, '$schema')");
$node->safe_psql('postgres', q(
	SELECT agno_arun('x', 'person', run_id => 'agents');
	SELECT agno_arun('y', 'person', run_id => 'own',
		output_schema => '{"type": "array", "items": {"type": "integer"}}')));
wait_run('agents');
wait_run('own');
is(value("string_agg(content, ' ' ORDER BY run_id) FROM agno.runs "
		  . "WHERE run_id IN ('agents', 'own')"),
	'{"age": 7, "name": "text"} [7]',
		'the schema of a run goes before that of its agent');
($request) = mock_requests('mock', 'x');
is(scalar @{ $request->{body}{input} },
	1, 'a run with a schema asks for no Markdown');

done_testing();
