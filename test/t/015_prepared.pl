# Two-phase commit: a run that a prepared transaction has enqueued starts when
# that is committed, though nobody wakes the runner; a cancel likewise, and a decision,
# also about a run whose followers are notified of it, which that transaction cannot do.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

$node->safe_psql(
	'postgres', "
	BEGIN;
	SELECT agno_arun('x', model => 'mock:echo', run_id => 'x');
	PREPARE TRANSACTION 'a';
	BEGIN;
	SELECT agno_arun('y', model => 'mock:echo', run_id => 'y');
	PREPARE TRANSACTION 'b';");
is(value('count(*) FROM agno.runs'),
	0, 'nothing is visible before COMMIT PREPARED');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'b'; COMMIT PREPARED 'a'");
is(wait_run('x'), 'COMPLETED',
	'a run starts when its prepared transaction is committed');
is(scalar(mock_requests('mock')), 1,
	'a run of a prepared transaction that was rolled back is not sent');

# Across a restart
$node->safe_psql(
	'postgres', "BEGIN;
	SELECT agno_arun('z', model => 'mock:echo', run_id => 'z');
	PREPARE TRANSACTION 'c'");
$node->restart;
runner_pid();
$node->safe_psql('postgres', "COMMIT PREPARED 'c'");
is(wait_run('z'), 'COMPLETED',
	'a run that was prepared before a restart completes');

# A cancel
enqueue('hang', 'hang');
wait_for_request('hang');
$node->safe_psql('postgres',
	"BEGIN; SELECT agno_cancel_run('hang'); PREPARE TRANSACTION 'd'");
is(run_status('hang'), 'RUNNING', 'a prepared cancel leaves the run RUNNING');
$node->safe_psql('postgres', "COMMIT PREPARED 'd'");
is(wait_run('hang'), 'CANCELLED',
	'a prepared cancel takes effect when it is committed');

# A decision about a streamed run
$node->safe_psql('postgres', q(
	CREATE FUNCTION asked() RETURNS text LANGUAGE sql AS $$ SELECT 'yes' $$;
	INSERT INTO agno.agents (agent_id, model, tools, requires_confirmation) VALUES ('asks', 'mock:tools', '{asked}', '{asked}')));
call_tools('decided', 'asks', [ [ ['asked'] ] ], stream => \'true');
wait_until('the run to be PAUSED', sub { run_status('decided') eq 'PAUSED' });
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN agno_run_event');
$node->safe_psql('postgres', "BEGIN; SELECT agno_approve_call('decided'); PREPARE TRANSACTION 'e'");
is(run_status('decided'), 'PAUSED', 'a prepared decision leaves the run PAUSED');
configure(paused => 'on');
$node->poll_query_until('postgres', "SELECT current_setting('agno_bg.paused')::boolean");
$node->safe_psql('postgres', "COMMIT PREPARED 'e'");
ok(wait_until('the listener to hear', sub { $listener->query('SELECT 1') =~ /"agno_run_event" with payload "decided"/ }), 'those who listen are told when it is committed');
is(value("event FROM agno_run_events('decided') ORDER BY seq DESC LIMIT 1"), 'RunContinued', 'that the run goes on');
configure(paused => 'off');
is(wait_run('decided'), 'COMPLETED', 'as it does');
$listener->quit;

$node->stop;
done_testing();
