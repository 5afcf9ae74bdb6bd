# A failover in the middle: on the standby that is promoted, a run that waits for a
# decision can be decided about, a family goes on from its last stored step, and a callback
# that was waiting is made. What was called before is not called again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', init => { allows_streaming => 1 }, conf => 'agno_bg.run_timeout = 1h');
add_mock_server($node, start_mock('mock'));
make_user($node, 'app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as($node, 'app', q{
	CREATE TABLE app.done (what text);
	CREATE FUNCTION app.note(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO app.done VALUES (what); RETURN 'noted ' || what; END $$;
	CREATE FUNCTION app.ended(r agno.runs) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.done VALUES (r.run_id || ' ' || r.status) $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('careful', 'app.note', true);
	INSERT INTO agno.agents (agent_id, model) VALUES ('leaf', 'mock:gate');
	INSERT INTO agno.agents (agent_id, model, tools, on_complete) VALUES ('a', 'mock:tools', '{app.note,careful,agent:leaf}', 'app.ended');});

call_tools($node, 'paused', 'a', [ [ [ note => { what => 'before' } ], [ careful => { what => 'after' } ] ] ], role => 'app');
is(wait_run($node, 'paused'), 'PAUSED', 'a run waits for a decision');
call_tools($node, 'family', 'a', [ [ [ note => { what => 'first' } ] ], [ [ leaf => { task => 'the task' } ] ] ], role => 'app');
wait_for_request('the task');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM agno.tool_calls WHERE run_id = 'family' AND status = 'waiting')), 'another one for a child');

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$node->stop('immediate');
$standby->promote;
open_gate('mock');

is(run_status($standby, 'paused'), 'PAUSED', 'after a failover it waits still');
as($standby, 'app', q(SELECT agno_approve_call('paused')));
is(wait_run($standby, 'paused'), 'COMPLETED', 'and goes on when somebody decides');
is(wait_run($standby, 'family'), 'COMPLETED', 'so does the family');
like($standby->safe_psql('postgres', q(SELECT content FROM agno.runs WHERE run_id = 'family')), qr/the task/, 'with what the child has answered');
is($standby->safe_psql('postgres', q(SELECT string_agg(what, ', ' ORDER BY what COLLATE "C") FROM app.done)),
	'after, before, family COMPLETED, first, paused COMPLETED', 'each call and each callback has been made once');
is(scalar(grep { ($_->{body}{input}[0]{content} // '') =~ /"id":"family"/ } mock_requests('mock')), 3, 'and the model was asked once for each step');
$standby->stop;
done_testing();
