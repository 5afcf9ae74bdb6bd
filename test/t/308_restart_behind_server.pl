# The server is restarted while a run whose tools have been called waits for a model server that
# is taken: that is no attempt of it, and its tools are not called again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'), options => ", max_concurrency '1'");
make_user(qw(app other));
$node->safe_psql('postgres', 'CREATE SCHEMA t AUTHORIZATION app');
as('app', q{
	CREATE TABLE t.calls ();
	CREATE FUNCTION t.held() RETURNS text LANGUAGE sql AS $$ INSERT INTO t.calls DEFAULT VALUES; SELECT pg_advisory_xact_lock(1)::text $$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('held', 'mock:tools', '{t.held}')});

my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(1)');
call_tools('waits', 'held', [ [ ['held'] ] ], role => 'app', max_attempts => 1);
wait_until('it to call its tool', sub { value(q(count(*) FROM agno.tool_calls WHERE status = 'pending')) });
as('other', q(SELECT agno_arun('taken', model => 'mock:hang', run_id => 'taken')));
wait_for_request('taken');
$lock->quit;
wait_until('it to wait for its server', sub { value(q(state FROM agno.run_queue WHERE run_id = 'waits')) eq 'p' });

$node->restart;
as('other', q(SELECT agno_cancel_run('taken')));
expect_run('waits', { status => 'COMPLETED', attempt => 1 }, 'it goes on');
is(value('count(*) FROM t.calls'), 1, 'its tool has been called once');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
