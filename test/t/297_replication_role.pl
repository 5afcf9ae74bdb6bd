# What agno_bg's functions do is done where session_replication_role is "replica" as well, as
# it is where a logical subscription applies changes and triggers call them, or where somebody loads data:
# runs are enqueued, cancelled, decided about and requeued. And a run that a hand
# has cancelled without telling anybody leaves the queue when its runner starts anew.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q{
	CREATE SCHEMA t;
	CREATE FUNCTION t.confirmed() RETURNS text LANGUAGE sql AS $$ SELECT 'yes' $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('confirmed', 't.confirmed', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('asks', 'mock:tools', '{confirmed}')});

sub replica
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "SET session_replication_role = replica; $sql; SHOW session_replication_role");
}

sub wait_for_status
{
	my ($run, $status) = @_;

	wait_until("$run to be $status", sub { value("status FROM agno.runs WHERE run_id = '$run'") eq $status });
	return;
}

is(replica(q(SELECT run_id FROM agno_arun('x', model => 'mock:echo', run_id => 'enqueued'))), "enqueued\nreplica", 'a run is enqueued, and the setting is what it was');
is(wait_run('enqueued'), 'COMPLETED', 'it is executed');

enqueue('flies', 'hang');
wait_for_request('flies');
replica(q(SELECT agno_cancel_run('flies')));
is(wait_run('flies'), 'CANCELLED', 'a run in flight is cancelled');

call_tools($_, 'asks', [ [ ['confirmed'] ] ], session_id => $_) for qw(approved cancelled by-hand);
wait_for_status($_, 'PAUSED') for qw(approved cancelled by-hand);
replica(q(SELECT agno_approve_call('approved')));
is(wait_run('approved'), 'COMPLETED', 'a run goes on when its call is approved');
replica(q(SELECT agno_cancel_run('cancelled')));
enqueue('after', 'echo', session_id => 'cancelled');
is(wait_run('after'), 'COMPLETED', 'a session goes on when a PAUSED run of it is cancelled');

enqueue('fails', 'status-400');
is(wait_run('fails'), 'ERROR', 'a run fails');
$node->safe_psql('postgres', q(UPDATE agno.runs SET model = 'echo' WHERE run_id = 'fails'));
replica(q(SELECT agno_requeue_run('fails')));
is(wait_run('fails'), 'COMPLETED', 'and is requeued');

# A hand
$node->safe_psql('postgres', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'later', run_at => now() + '1 day')));
$node->safe_psql('postgres', q(UPDATE agno.runs SET status = 'CANCELLED', finished_at = now() WHERE run_id IN ('by-hand', 'later')));
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . runner_pid() . ')');
enqueue('behind', 'echo', session_id => 'by-hand');
is(wait_run('behind'), 'COMPLETED', 'a session goes on when a hand has cancelled a PAUSED run of it');
wait_until('the queue to be empty', sub { value('count(*) FROM agno.run_queue') == 0 });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
