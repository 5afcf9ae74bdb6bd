# Many runs with a thousand previews each are cancelled, all at once, and as many go on:
# what a turn reads of them is known before it is read.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $calls, $node) = (60, 1000, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q(CREATE FUNCTION app.big(n int) RETURNS text LANGUAGE sql AS $$ SELECT repeat('0123456789abcdef', 3900) $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation, preview) VALUES ('big', 'app.big', true, true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('big', 'mock:tools', '{big}')));
as('app', q{SELECT agno_arun('{"id": "x", "calls": [[{"name": "big", "arguments": "{\"n\": 1}"}]]}', 'big', run_id => n::text) FROM generate_series(1, } . "$runs) n");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'PAUSED'"), 'all wait for somebody');
# A thousand of them take long to make: they are copied.
$node->safe_psql('postgres', qq(SET session_replication_role = replica;
	INSERT INTO agno.tool_calls (run_id, turn, call_no, tool_call_id, model_call_id, tool, arguments, status, attempt)
		SELECT run_id, turn, n, gen_random_uuid()::text, model_call_id, tool, arguments, status, attempt FROM agno.tool_calls, generate_series(2, $calls) n;
	INSERT INTO agno.requirements (run_id, turn, call_no, requirement_id, kind, requested_at, preview, fingerprint)
		SELECT run_id, turn, n, gen_random_uuid()::text, kind, requested_at, preview, fingerprint FROM agno.requirements, generate_series(2, $calls) n));

# Half of them go on, as if they had been decided about.
my $half = $runs / 2;
$node->safe_psql('postgres', qq(SET session_replication_role = replica;
	BEGIN;
	UPDATE agno.tool_calls SET status = 'rejected' WHERE run_id::int > $half;
	UPDATE agno.requirements SET decision = 'rejected' WHERE run_id::int > $half;
	UPDATE agno.runs SET status = 'PENDING' WHERE run_id::int > $half;
	UPDATE agno.run_queue SET state = 'r', claimed = false, continues = true, run_at = NULL WHERE run_id::int > $half;
	COMMIT;
	RESET session_replication_role;
	SELECT agno_arun('wakes the runner', model => 'mock:echo')));
my $longest = longest_call('boss', sub { value("count(*) = $half FROM agno.runs WHERE agent_id = 'big' AND status = 'COMPLETED'") eq 't' });
note("others wait $longest s");
cmp_ok($longest, '<', 6, 'others are served while runs with previews go on');
as('app', "SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE run_id::int <= $half AND agent_id = 'big'");
$longest = longest_call('boss', sub { value(q(NOT EXISTS (SELECT FROM agno.run_queue WHERE state = 'd'))) eq 't' });
note("others wait $longest s");
cmp_ok($longest, '<', 3, 'and while others are cancelled');
ok($node->poll_query_until('postgres', "SELECT count(*) = $half * $calls FROM agno.tool_calls WHERE status = 'cancelled'"), 'with all of their calls');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is in order');
$node->stop;
done_testing();
