# Each of the many agents that an agent has called asks for many confirmations, one after
# the other: what the one above shows of them is put together while others are served.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($children, $calls, $node) = (120, 60, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q(CREATE FUNCTION app.careful(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'done' $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('careful', 'app.careful', true);
	INSERT INTO agno.agents (agent_id, model, tools, description) VALUES ('child', 'mock:tools', '{careful}', 'asks');
	INSERT INTO agno.agents (agent_id, model, tools, tool_call_limit) VALUES ('top', 'mock:tools', '{agent:child}', 1000)));
sub careful { return { name => 'careful', arguments => encode_json({ what => $_[0] }) }; }
call_tools('top', 'top', [ [ map { my $n = $_; [ child => encode_json({ task => encode_json({ id => "c$n",
	calls => [ [ careful('first') ], $n == 1 ? () : [ map { careful("$n-$_") } 1 .. $calls ] ] }) }) ] } 1 .. $children ] ], role => 'app');
my $all = "count(*) = $children FROM agno.runs r WHERE parent_run_id = 'top' AND status = 'PAUSED'";
ok($node->poll_query_until('postgres', "SELECT $all AND (SELECT status = 'PAUSED' FROM agno.runs WHERE run_id = 'top')"), 'all wait for somebody');
as('app', q(SELECT count(agno_approve_call(run_id)) FROM agno.runs WHERE parent_run_id = 'top' AND input NOT LIKE '%"c1"%'));
my $longest = longest_call('boss', sub {
	value("$all AND (input LIKE '%\"c1\"%' OR EXISTS (SELECT FROM agno.tool_calls c WHERE c.run_id = r.run_id AND c.turn = 2 AND c.status = 'paused'))") eq 't' });
note("others wait $longest s");
cmp_ok($longest, '<', 6, 'others are served while they ask for more');
ok($node->poll_query_until('postgres', q(SELECT jsonb_array_length(requirements) > 250 FROM agno.runs WHERE run_id = 'top')), 'the one above shows what there is room for');
cmp_ok(value(q(length(requirements::text) FROM agno.runs WHERE run_id = 'top')), '<', 3000000, 'and no more');
as('app', q(SELECT agno_reject_call('top')));
expect_run('top', { status => 'COMPLETED' }, 'all are decided about there, seen or not');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is in order');
$node->stop;
done_testing();
