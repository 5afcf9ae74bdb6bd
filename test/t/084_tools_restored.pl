# A dump of a database with agents, tools, and a run whose second tool was just being
# called, restored into another one: the definitions are the same, the run goes on
# from its last stored step there, and what its first tool has done is in the copy
# once, with its record.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
new_database('app', $url);
make_user('bank');
$node->safe_psql('app', q{
	SELECT agno_grant_usage('bank');
	CREATE SCHEMA bank AUTHORIZATION bank;
	SET SESSION AUTHORIZATION bank;
	CREATE TABLE bank.done (what text, tool_call_id text);
	CREATE FUNCTION bank.act(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO bank.done VALUES (what, current_setting('agno_bg.tool_call_id'));
		IF what = 'waits' THEN PERFORM pg_advisory_xact_lock(42); END IF;
		RETURN what; END $$;
	COMMENT ON FUNCTION bank.act IS 'Acts.
Args:
    what: what to do';
	INSERT INTO agno.tools (tool, function, stop_after_call, timeout, bind)
		VALUES ('bound', 'bank.act', true, '5 s', '{"what": "user_id"}');
	INSERT INTO agno.agents (agent_id, model, tools, tool_call_limit, tool_choice, max_tool_calls_from_history)
		VALUES ('actor', 'mock:tools', '{bank.act,bound,agno.list_tables}', 7, 'auto', 3)});
my $holder = $node->background_psql('app');
$holder->query_safe('SELECT pg_advisory_lock(42)');
call_tools('run', 'actor', [ [ [ act => { what => 'first' } ], [ act => { what => 'waits' } ] ], [ [ bound => {} ] ] ],
	role => 'bank', database => 'app', user_id => 'ann');
$node->poll_query_until('app', q(SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted));

my $dump = "$PostgreSQL::Test::Utils::tmp_check/app.sql";
my $definitions = q(SELECT jsonb_build_object('agents', (SELECT jsonb_agg(a) FROM agno.agents a),
	'tools', (SELECT jsonb_agg(t) FROM agno.tools t), 'described', agno_describe_tool('bank.act'),
	'bound', agno_describe_tool('bound')));
my $calls = q(SELECT string_agg(tool || ' ' || status, ', ' ORDER BY turn, call_no) FROM agno.tool_calls);
my $effects = q(SELECT string_agg(d.what || ' ' || c.status, ', ' ORDER BY turn, call_no)
	FROM bank.done d FULL JOIN agno.tool_calls c USING (tool_call_id));
my $asked = () = mock_requests('mock');

is($node->safe_psql('app', $calls), 'act completed, act pending', 'a tool is being called');
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('app') ], 'the database is dumped meanwhile');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('copy') ],
	'the dump is restored');
is($node->safe_psql('copy', $definitions), $node->safe_psql('app', $definitions), 'agents and tools are the same');
ok($node->poll_query_until('copy', q(SELECT status = 'COMPLETED' FROM agno.runs)), 'the run goes on in the copy');
is($node->safe_psql('copy', $effects), 'first completed, waits completed, ann completed',
	'each tool has had its effect there once');
is(() = mock_requests('mock'), $asked + 1, 'the model was not asked again for what it had said');
is($node->safe_psql('copy', q(SELECT count(*) FROM agno.tool_queue)), 0, 'nothing is left to be called');
is($node->safe_psql('app', $calls), 'act completed, act pending', 'nothing has happened to the original');
eval { $holder->quit };
is(wait_run('run', 'app'), 'COMPLETED', 'which goes on, too');
is($node->safe_psql('app', $effects), 'first completed, waits completed, ann completed', 'with the same effects');

# Agents are restored with their tools even where a function has gone.
$node->safe_psql('copy', 'DROP FUNCTION bank.act');
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('copy') ], 'a database with a tool that has gone is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('again') ],
	'and restored');
is($node->safe_psql('again', 'SELECT tools::text FROM agno.agents'), $node->safe_psql('copy', 'SELECT tools::text FROM agno.agents'),
	'with what it says of its tools');

$node->stop;
done_testing();
