# Tool workers are shared by the databases of a server, and serve all runners of each:
# a role in one database does not keep them from the same role in another, a run is
# cancelled in its own database only, and with several runners every run's tools
# are called once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.runners = 3\nagno_bg.max_tool_workers = 3\nagno_bg.tool_timeout = '1s'\nmax_worker_processes = 20\n");
my $url = start_mock('mock');
add_mock_server($url);
make_user('app');
new_database('other', $url);
$node->safe_psql('other', q(SELECT agno_grant_usage('app')));
foreach my $database ('postgres', 'other')
{
	$node->safe_psql($database, q{
		CREATE TABLE done (run_id text);
		GRANT ALL ON done TO app;
		CREATE FUNCTION nap(seconds float8) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO done VALUES (current_setting('agno_bg.run_id'));
			PERFORM pg_sleep(seconds); RETURN current_database(); END $$;
		INSERT INTO agno.tools (tool, function, timeout, owner) VALUES ('long', 'public.nap', '1 day', 'app');
		INSERT INTO agno.agents (agent_id, model, tools, owner) VALUES ('a', 'mock:tools', '{long}', 'app')});
}

sub nap
{
	my ($id, $database, $seconds) = @_;
	call_tools($id, 'a', [ [ [ long => { seconds => $seconds } ] ] ], role => 'app', database => $database);
}

# Several runners
nap("many-$_", 'postgres', 0.01) foreach 1 .. 30;
is(value(q(count(*) FROM generate_series(1, 30) g, agno_wait_run('many-' || g, '60 s') r WHERE r.status = 'COMPLETED')), 30, 'runs of all runners call tools');
is(value(q(count(*) || ' ' || count(DISTINCT run_id) FROM done)), '30 30', 'each once');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

# Two databases
nap("day-$_", 'postgres', 80000) foreach 1 .. 3;
nap('same', 'postgres', 80000);
$node->poll_query_until('postgres', q(SELECT count(*) = 2 FROM agno.workers WHERE database = 'postgres' AND state = 'busy'));
my $start = time;
nap("other-$_", 'other', 0.1) foreach 1 .. 10;
expect_run("other-$_", { status => 'COMPLETED', content => 'Results: other' }, "a database that comes later has its turn: $_", database => 'other') foreach 1 .. 10;
cmp_ok(time - $start, '<', 10, 'soon');
is(value(q(max(attempt) FROM agno.runs WHERE run_id LIKE 'day-%')), 1, 'which costs the others no attempt');

# The same id in two databases
value(q(count(agno_cancel_run(run_id)) FROM agno.runs WHERE status = 'RUNNING'));
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM agno.workers WHERE state = 'busy'));
nap('twin', $_, 0.9) foreach 'postgres', 'other';
$node->poll_query_until('postgres', q(SELECT count(*) = 2 FROM agno.workers WHERE state = 'busy'));
is(value(q(agno_cancel_run('twin'))), 't', 'of two runs with one id, one is cancelled');
expect_run('twin', { status => 'CANCELLED' }, 'it ends');
expect_run('twin', { status => 'COMPLETED', content => 'Results: other' }, 'the one of the other database is not interrupted', database => 'other');
is(value(q(count(*) FROM done WHERE run_id = 'twin'), 'other'), 1, 'and its effect is there');

done_testing();
