# A run whose tools have been called, or are being called when its time is over, waits for a model
# server that is taken: it ends with its timeout, not when its server has room.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'), options => ', max_concurrency \'1\'');
make_user(qw(app other));
$node->safe_psql('postgres', 'CREATE SCHEMA t AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION t.held(key int) RETURNS text LANGUAGE sql AS $$ SELECT pg_advisory_xact_lock(key)::text $$;
	CREATE FUNCTION t.confirmed() RETURNS text LANGUAGE sql AS $$ SELECT 'yes' $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('confirmed', 't.confirmed', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('held', 'mock:tools', '{t.held}'),
		('asks', 'mock:tools', '{confirmed}')});

# Runs whose tools hold until their locks are released.
my $lock = $node->background_psql('postgres');
$lock->query_safe("SELECT pg_advisory_lock($_)") for 1, 2;
sub start
{
	my ($run, $key) = @_;

	call_tools($run, 'held', [ [ [ 'held', qq({"key": $key}) ] ] ], role => 'app', timeout => '8s');
	wait_until("$run to call its tool", sub { value(qq(count(*) FROM agno.tool_calls WHERE run_id = '$run' AND status = 'pending')) });
	return;
}

start('called', 1);
start('calling', 2);
call_tools('decided', 'asks', [ [ ['confirmed'] ] ], role => 'app', timeout => '3s');
wait_until('the last one to be PAUSED', sub { run_status('decided') eq 'PAUSED' });
as('other', q(SELECT agno_arun('taken', model => 'mock:hang', run_id => 'taken')));
wait_for_request('taken');
$lock->query_safe('SELECT pg_advisory_unlock(1)');
as('app', q(SELECT agno_reject_call('decided')));

foreach my $run (qw(called calling))
{
	expect_run($run, { status => 'ERROR', q(error ->> 'type') => 'timeout', content => 'the run did not end within its timeout of 8.000 s',
			'finished_at - started_at < interval \'11 s\'' => 'true' }, "$run: it ends with its timeout");
}
is(value(q(count(*) FROM agno.runs WHERE run_id = 'taken' AND status = 'RUNNING')), 1, 'while the server is taken');
is(value(q(concat(status, error ->> 'message') FROM agno.runs WHERE run_id = 'decided')), 'PENDING', 'who has waited for a decision waits for the server without losing time');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

as('other', q(SELECT agno_cancel_run('taken')));
expect_run('decided', { status => 'COMPLETED' }, 'and goes on when there is room');

$lock->quit;
$node->stop;
done_testing();
