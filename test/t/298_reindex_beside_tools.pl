# A REINDEX of the tables that a tool worker writes when its call ends comes while the call is on its
# way: it waits for that, as other commands do, and not each for the other until one of them
# fails. The same for a function that is called when a run has ended.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'deadlock_timeout = 100ms');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA t AUTHORIZATION app');
as('app', q{
	CREATE SEQUENCE t.calls;
	CREATE FUNCTION t.nap() RETURNS text LANGUAGE sql AS $$
		SELECT nextval('t.calls')::text; SELECT pg_sleep(1); SELECT agno_update_session_state('{"a": 1}')::text $$;
	CREATE FUNCTION t.ended(run agno.runs) RETURNS void LANGUAGE sql AS $$ SELECT nextval('t.calls'); SELECT pg_sleep(1) $$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('naps', 'mock:tools', '{t.nap}')});

# The table is reindexed while the function of this run is being called.
sub reindex
{
	my ($table, $run) = @_;
	my $called = "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'agno_bg tool worker' AND wait_event = 'PgSleep')";

	wait_until("$run to be called", sub { value($called) eq 't' });
	my (undef, undef, $err) = $node->psql('postgres', "REINDEX TABLE agno.$table");
	is($err, '', "REINDEX of agno.$table beside $run");
	is(wait_run($run), 'COMPLETED', 'it completes');
	is(value(q(last_value FROM t.calls)), 1, 'after one call');
	$node->safe_psql('postgres', 'ALTER SEQUENCE t.calls RESTART');
	return;
}

foreach my $table (qw(tool_calls tool_queue requirements run_requests runs sessions))
{
	call_tools("tool-$table", 'naps', [ [ ['nap'] ] ], role => 'app');
	reindex($table, "tool-$table");
}
foreach my $table (qw(callbacks runs run_requests))
{
	as('app', "SELECT agno_arun('x', model => 'mock:echo', run_id => 'callback-$table', on_complete => 't.ended(agno.runs)')");
	reindex($table, "callback-$table");
}
is(logged(qr/deadlock detected/), 0, 'nobody waited for each other');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
