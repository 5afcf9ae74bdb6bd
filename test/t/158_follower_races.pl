# A server begins to receive agents and tools while a role is about to write its own: no row
# of the role stays, which would be in the way of those that arrive, for ever. Faults
# injected: a transaction that has inserted is open meanwhile; one whose snapshot is
# older inserts afterwards; one is not ended at all; one on the first server is open
# when the copy is to begin, which is told of. The first server gives out neither rows of a role
# that has been dropped, nor a slot that another server uses.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $url = start_mock('mock');
my ($n1, $n2) = map { new_node($_, init => { allows_streaming => 'logical' }) } 'n1', 'n2';
foreach my $node ($n1, $n2)
{
	add_mock_server($node, $url);
	make_user($node, 'app');
}

# A session of the role on the second server.
sub session { return $n2->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]); }
my $follow = "SELECT agno.follow_agents('" . $n1->connstr('postgres') =~ s/'/''/gr . "', 'agno_n2')";
my $own = q(INSERT INTO agno.agents (agent_id, model) VALUES ('helper', 'mock:own'));
sub arrives
{
	my ($name) = @_;
	as($n1, 'app', qq(DELETE FROM agno.agents; INSERT INTO agno.agents (agent_id, model) VALUES ('helper', 'mock:echo')));
	as($n1, 'app', qq(INSERT INTO agno.agents (agent_id, model) VALUES ('$name', 'mock:echo')));
	ok($n2->poll_query_until('postgres', "SELECT string_agg(agent_id || model, ',' ORDER BY agent_id) = '${name}mock:echo,helpermock:echo' FROM agno.agents"), "$name: agents arrive");
}
sub stop_following
{
	value($n2, 'agno.unfollow_agents()');
	is(outcome_as($n2, 'app', $own), '55000', 'a server that is to follow anew takes no rows of its own');
	$n2->safe_psql('postgres', 'DROP SUBSCRIPTION agno_router');
}
value($n1, $_) foreach 'agno.publish_agents()', "agno.publish_agents('agno_n2')";

# What is committed while the server begins
my $open = session();
$open->query("BEGIN; $own");
my ($begins, $said) = ('', '');
my $process = IPC::Run::start([ 'psql', '-XAtq', '-d', $n2->connstr('postgres'), '-c', $follow ], '<', '/dev/null', '>', \$begins, '2>', \$said);
wait_until('the open transaction to be waited for', sub { $process->pump_nb if $process->pumpable; value($n2, q(count(*) FROM pg_locks WHERE NOT granted AND relation = 'agno.agents'::regclass)) > 0 or $begins . $said ne '' });
$open->query('COMMIT');
$open->quit;
$process->finish;
is($begins . $said, "t\n", 'a server follows when an open transaction has ended');
arrives('a1');
stop_following();

# What a transaction with an old snapshot inserts afterwards
my $old = session();
$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
value($n1, "agno.publish_agents('agno_n2')");
$n2->safe_psql('postgres', $follow);
is($old->query("$own;\n\\echo :SQLSTATE"), '55000', 'a snapshot from before does not let a row in');
$old->query('COMMIT');
$old->quit;
arrives('a2');
stop_following();

# What is never committed
$open = session();
$open->query("BEGIN; INSERT INTO agno.tools (tool, external_execution) VALUES ('t', true)");
$n2->safe_psql('postgres', q(ALTER FUNCTION agno.unfollow_agents SET lock_timeout = '1s'));
is(outcome($n2, $follow), '55P03', 'a transaction that does not end is told of');
$open->query('ROLLBACK');
$open->quit;
is(outcome($n2, "SET default_transaction_isolation = 'repeatable read'; $follow"), '25001', 'what would not see all rows is refused');

# What is open on the first server when the copy is to begin
value($n1, "agno.publish_agents('agno_n2')");
$open = $n1->background_psql('postgres', extra_params => [ '-U', 'app' ]);
$open->query("BEGIN; SELECT pg_current_xact_id()");
is(outcome($n2, "SET default_transaction_isolation = 'read uncommitted'; $follow"), 't', 'a server follows');
my $status = q(SELECT concat_ws(' ', agents, problem) FROM agno.node_status());
my $waits = 'subscriber agents and tools are not copied yet; transactions open on the first node are waited for';
$n2->safe_psql('postgres', q(ALTER DATABASE postgres SET agno_bg.node = 'n2'));
ok($n2->poll_query_until('postgres', $status, $waits), 'a copy that waits for a transaction is told of');
$open->query('COMMIT');
$open->quit;
ok($n2->poll_query_until('postgres', $status, 'subscriber'), 'until that has ended');

# A slot that is in use, and a role that is no more
is(outcome($n1, "SELECT agno.publish_agents('agno_n2')"), '55006', 'the slot of a server that follows is not taken from it');
arrives('a3');
$n1->safe_psql('postgres', q(CREATE ROLE gone; INSERT INTO agno.tools (tool, external_execution, approver) VALUES ('t', true, 'gone'); DROP ROLE gone));
my ($ret, $out, $err) = $n1->psql('postgres', "SELECT agno.publish_agents('agno_n3')");
like($err, qr/the approver of tool "t" has been dropped/, 'a role that is no more is told of');
is(value($n1, 'count(*) FROM pg_replication_slots'), 1, 'before there is a slot');

done_testing();
