# Runs that wait for a thousand decisions each, for which nobody had the time, all at
# once: they are rejected one run after the other, and others are served meanwhile.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $calls, $node) = (16, 1000, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q(CREATE FUNCTION app.soon(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'done' $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation, expires_after) VALUES ('soon', 'app.soon', true, '1 day');
	INSERT INTO agno.agents (agent_id, model, tools, tool_call_limit) VALUES ('soon', 'mock:tools', '{soon}', 1000)));
as('app', "SELECT count(agno_arun(json_build_object('id', 'x', 'calls', json_build_array((SELECT json_agg(json_build_object('name', 'soon',
	'arguments', json_build_object('what', c || repeat('x', 1000))::text)) FROM generate_series(1, $calls) c)))::text, 'soon')) FROM generate_series(1, $runs)");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'PAUSED'"), 'all wait for somebody');
is(value('count(*) FROM agno.requirements WHERE expires_at IS DISTINCT FROM requested_at + expires_after'), 0, 'until it expires, and no longer');
$node->safe_psql('postgres', q(BEGIN;
	UPDATE agno.requirements SET expires_at = clock_timestamp();
	UPDATE agno.run_queue SET run_at = clock_timestamp();
	COMMIT;
	SELECT agno_arun('wakes the runner', model => 'mock:echo')));
my $longest = longest_call('boss', sub { value(q(NOT EXISTS (SELECT FROM agno.requirements WHERE decision IS NULL))) eq 't' });
note("others wait $longest s");
cmp_ok($longest, '<', 4, 'others are served while they are rejected');
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'COMPLETED' AND agent_id = 'soon'"), 'all go on');
is(value(q(count(*) FROM agno.tool_calls WHERE status = 'rejected')), $runs * $calls, 'without one of the calls');
is(value(q(count(*) FROM agno.requirements WHERE decision = 'rejected' AND note LIKE 'Nobody decided within %')), $runs * $calls, 'which nobody has decided about');
is(value(q(count(*) FROM agno.runs, jsonb_array_elements(requirements) e WHERE e -> 'confirmation' = 'false' AND e -> 'tool_execution' -> 'confirmed' = 'false')), $runs * $calls, 'as they say themselves');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is in order');
$node->stop;
done_testing();
