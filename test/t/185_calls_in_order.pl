# Calls of an answer are made in their order, also when a tool worker goes from one run to
# another in between, as it does before a first preview.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (200, new_node('main', conf => "agno_bg.max_tool_workers = 4\n"));
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(CREATE SCHEMA app AUTHORIZATION app));
as('app', q{
	CREATE TABLE app.log (id bigserial, run_id text, i integer);
	CREATE FUNCTION app.note(i integer) RETURNS text LANGUAGE sql AS $$
		INSERT INTO app.log (run_id, i) VALUES (current_setting('agno_bg.run_id'), i); SELECT 'noted' $$;
	CREATE FUNCTION app.shown(i integer) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;
	INSERT INTO agno.tools (tool, function, preview) VALUES ('shown', 'app.shown', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('agent', 'mock:tools', '{app.note,shown}')});
my $calls = sub { my ($first) = @_; return qq({"calls": [[{"name": "$first", "arguments": {"i": 1}}, )
	. join(', ', map { qq({"name": "note", "arguments": {"i": $_}}) } 2 .. 12) . ']]}' };
as('app', "SELECT count(agno_arun(CASE i % 2 WHEN 0 THEN '@{[ $calls->('note') ]}' ELSE '@{[ $calls->('shown') ]}' END, 'agent')) FROM generate_series(1, $runs) i");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status IN ('COMPLETED', 'PAUSED')"), 'all calls are made that nobody decides about');
is(value('count(*) FROM app.log'), $runs / 2 * (12 + 11), 'each once');
is(value(q(count(*) FROM (SELECT i, lag(i) OVER (PARTITION BY run_id ORDER BY id) AS before FROM app.log) l WHERE i < before)), 0, 'in their order');
$node->stop;
done_testing();
