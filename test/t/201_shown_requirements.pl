# A run shows of previews, and of what those that it waits for require, what there is room
# for: the rest is in agno.approvals, and is decided about like the others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($node, $previews, $children) = (new_node('main'), 60, 40);
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q(CREATE FUNCTION app.big(n int) RETURNS text LANGUAGE sql AS $$ SELECT repeat('0123456789abcdef', 3900) $$;
	CREATE FUNCTION app.careful(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'done' $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation, preview) VALUES ('big', 'app.big', true, true), ('careful', 'app.careful', true, false);
	INSERT INTO agno.agents (agent_id, model, tools, description) VALUES ('big', 'mock:tools', '{big}', 'asks'), ('child', 'mock:tools', '{careful}', 'asks');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('top', 'mock:tools', '{agent:child}')));
sub shown { my ($id) = @_; return value("length(requirements::text) FROM agno.runs WHERE run_id = '$id'"); }

call_tools('previews', 'big', [ [ map { [ big => { n => $_ } ] } 1 .. $previews ] ], role => 'app', stream => \'true');
is(wait_run('previews'), 'PAUSED', 'a run with many previews');
is(as('app', q(SELECT count(*) FROM agno.approvals WHERE run_id = 'previews' AND length(preview->>'result') = 62400)), $previews, 'which agno.approvals has');
is(value(q(jsonb_array_length(requirements) FROM agno.runs WHERE run_id = 'previews')), $previews, 'and asks for all of them');
note(shown('previews'));
cmp_ok(shown('previews'), '<', 1500000, 'with some previews');
cmp_ok(value(q(count(e -> 'preview') FROM agno.runs, jsonb_array_elements(requirements) e WHERE run_id = 'previews')), '>', 10, 'the first ones');
cmp_ok(value(q(length(data::text) FROM agno.run_events WHERE run_id = 'previews' AND event = 'RunPaused')), '<', 2000000, 'and so its stream says');

sub task { my ($id, $calls, $length) = @_; return encode_json({ task => encode_json({ id => $id,
	calls => [ [ map { { name => 'careful', arguments => encode_json({ what => "$id-$_" . 'x' x $length }) } } 1 .. $calls ] ] }) }); }
call_tools('members', 'top', [ [ map { [ child => task("c$_", 1, 50000) ] } 1 .. $children ] ], role => 'app');
is(wait_run('members'), 'PAUSED', 'one that waits for many others');
ok($node->poll_query_until('postgres', "SELECT count(*) = $children FROM agno.runs WHERE parent_run_id = 'members' AND status = 'PAUSED'"), 'who all ask');
ok($node->poll_query_until('postgres', q(SELECT jsonb_array_length(requirements) > 10 FROM agno.runs WHERE run_id = 'members')), 'shows some of them');
$node->safe_psql('postgres', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'later')));
expect_run('later', { status => 'COMPLETED' }, 'a while later');
note(shown('members'));
cmp_ok(shown('members'), '<', 1800000, 'and no more');
as('app', q(SELECT agno_approve_call('members')));
expect_run('members', { status => 'COMPLETED' }, 'all are decided about there');
is(value(q(count(*) FROM agno.tool_calls WHERE tool = 'careful' AND status = 'completed')), $children, 'seen or not');

call_tools('long', 'top', [ [ [ child => task('l', 2, 50000) ] ] ], role => 'app');
ok($node->poll_query_until('postgres', q(SELECT status = 'PAUSED' FROM agno.runs WHERE parent_run_id = 'long')), 'a child that asks at length');
is(wait_run('long'), 'PAUSED', 'has the one above wait, who does not say for what');
as('app', q(SELECT agno_approve_call('long')));
expect_run('long', { status => 'COMPLETED', content => qr/done/ }, 'and goes on');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is in order');
$node->stop;
done_testing();
