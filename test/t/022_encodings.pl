# Databases in other encodings than UTF8 work: what they cannot represent
# becomes a question mark, and what is no valid text a U+FFFD on its way to the
# model server; no run fails for it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', no_extension => 1);
my $url = start_mock('mock');

# Scripts are of ASCII, which is what all encodings have.
$node->safe_psql('postgres', q(CREATE DATABASE euc ENCODING 'EUC_JP' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'));
$node->safe_psql('euc', 'CREATE EXTENSION agno_bg');

foreach my $encoding (qw(LATIN1 SQL_ASCII))
{
	my $database = lc $encoding;
	$node->safe_psql('postgres',
		"CREATE DATABASE $database ENCODING '$encoding' TEMPLATE template0 "
		  . "LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($database, 'CREATE EXTENSION agno_bg');
	add_mock_server($url, database => $database);
	$node->safe_psql(
		$database, "
		SELECT agno_arun('$database' || chr(233), model => 'mock:echo',
			run_id => 'e' || chr(233));
		SELECT agno_arun('x', model => 'mock:hostile', run_id => 'hostile');
		SELECT agno_arun('x', model => 'mock:hang', run_id => 'h' || chr(233));
		SELECT agno_cancel_run('h' || chr(233))");
	# The input of the model "raw" is the answer: characters as JSON escapes them.
	my $text = '\u4e2d\u00e9\ud83d\ude00';
	my $json = qq({\\"it\\":\\"@{[ $text =~ s/\\/\\\\/gr ]}\\"});
	my $item = qq({"type":"reasoning","summary":[{"type":"summary_text","text":"$text"}]});
	my $call = qq({"type":"function_call","call_id":"c","name":"tell","arguments":"$json"});
	my $said = qq({"type":"message","content":[{"text":"$json"}]});
	$node->safe_psql(
		$database, qq(
		CREATE FUNCTION tell(it text) RETURNS text LANGUAGE sql AS 'SELECT it';
		INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:raw', '{public.tell}');
		SELECT agno_arun('{"status":"completed","output":[$item,$call]}', agent_id => 'a', run_id => 'calls');
		SELECT agno_arun('{"status":"completed","output":[$item,$said]}', model => 'mock:raw', run_id => 'structured',
			output_schema => '{"type":"object"}')));
	is( $node->safe_psql($database, "SELECT r.status, r.error FROM unnest('{calls,structured}'::text[]) i, agno_wait_run(i) r"),
		"COMPLETED|\nCOMPLETED|", "$encoding: whatever characters are escaped");
	is( $node->safe_psql($database, "SELECT arguments->>'it' = (SELECT content::jsonb->>'it' FROM agno.runs WHERE run_id = 'structured'),
			length(arguments->>'it') FROM agno.tool_calls"),
		$encoding eq 'LATIN1' ? 't|3' : 't|9', "$encoding: and what cannot be stored of them is replaced");
	is( $node->safe_psql(
			$database, "SELECT status FROM agno_wait_run('e' || chr(233));
			SELECT status FROM agno_wait_run('hostile');
			SELECT status FROM agno_wait_run('h' || chr(233))"),
		"COMPLETED\nCOMPLETED\nCANCELLED",
		"$encoding: runs end as they should");
}
is( $node->safe_psql(
		'latin1', "SELECT encode(content::bytea, 'escape'),
		encode((messages->0->>'content')::bytea, 'escape')
		FROM agno_get_run_output('e' || chr(233))"),
	'You said: latin1\\351|latin1\\351',
	'LATIN1: input and answer keep their characters');
is( (mock_requests('mock', "latin1\x{e9}"))[0]->{body}{model},
	'echo', 'LATIN1: the server gets UTF-8');
is( $node->safe_psql('latin1',
		"SELECT content FROM agno_get_run_output('hostile')"),
	'nul ? high ? low ? raw ??.',
	'LATIN1: a character that it cannot represent is replaced');
is( (mock_requests('mock', "sql_ascii\x{fffd}"))[0]->{body}{model},
	'echo', 'SQL_ASCII: the server gets UTF-8');

# Arguments that somebody gives besides the model have names of any characters.
$node->safe_psql(
	'latin1', q(
	DO $$ BEGIN EXECUTE format('CREATE FUNCTION paint(x int, %I text) RETURNS text LANGUAGE sql AS ''SELECT x || $2''',
		'gr' || chr(246)); END $$;
	INSERT INTO agno.tools (tool, function, requires_user_input)
		VALUES ('paint', 'public.paint', ARRAY['gr' || chr(246)]);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('painter', 'mock:tools', '{paint}');
	SELECT agno_arun('{"calls":[[{"name":"paint","arguments":{"x":1}}]]}', agent_id => 'painter', run_id => 'asks')));
$node->poll_query_until('latin1', "SELECT status = 'PAUSED' FROM agno.runs WHERE run_id = 'asks'");
$node->safe_psql('latin1', "SELECT agno_answer_call(run_id, tool_call_id,
	jsonb_build_object('gr' || chr(246), 'wei' || chr(223))) FROM agno.approvals");
is( $node->safe_psql('latin1', "SELECT r.status, c.result = '1wei' || chr(223), c.error
		FROM agno_wait_run('asks') r JOIN agno.tool_calls c USING (run_id)"),
	'COMPLETED|t|', 'LATIN1: the name of an argument that somebody answers with');
is( ($node->psql('latin1', "SELECT agno_call_tool('paint', jsonb_build_object('x', 1,
		'gr' || chr(246), 'wei' || chr(223))) = '1wei' || chr(223)"))[1],
	't', 'LATIN1: and one that is given to try the tool');

$node->stop;
done_testing();
