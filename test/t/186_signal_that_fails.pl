# What is signalled about a run cannot be followed, since a trigger refuses it say: that is
# found out, logged and dropped, and everybody else goes on meanwhile.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
$node->safe_psql('postgres', q(
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
	CREATE TRIGGER refuse BEFORE UPDATE ON agno.run_queue FOR EACH ROW WHEN (OLD.run_id = 'bad' AND OLD.state = 't') EXECUTE FUNCTION refuse();
	CREATE FUNCTION look() RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'seen' $$));
as('app', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('looks', 'mock:tools', '{public.look}')));
call_tools('bad', 'looks', [ [ ['look'] ] ], role => 'app');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM agno.tool_calls WHERE run_id = 'bad' AND status = 'completed')), 'the tools of a run are called');
my $start = time;
as('boss', q(CALL agno_run('x', model => 'mock:echo')));
cmp_ok(time - $start, '<', 10, 'another role is served though it cannot go on');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.run_signals)), 'its signal does not stay');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/agno_bg has dropped what was signalled about run "bad"/, 'that is logged');
$node->safe_psql('postgres', 'DROP TRIGGER refuse ON agno.run_queue');
is(value(q(agno_cancel_run('bad'))), 't', 'and it can be cancelled');
expect_run('bad', { status => 'CANCELLED' }, 'then');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is in order');
$node->stop;
done_testing();
