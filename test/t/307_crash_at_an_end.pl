# What a run has said brings its runner down when the run is cancelled, or ended after too many
# attempts, while it is not in flight: it ends all the same, with nothing but that, and so does the
# loop of crashes.
# Fault injected: faults/venom.c, once the runs have called their tools.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', fault => 'venom', conf => 'agno_bg.max_attempts = 2');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA t AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION t.held(what text) RETURNS text LANGUAGE sql AS $$ SELECT pg_advisory_xact_lock(1); SELECT 'ok' $$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('held', 'mock:tools', '{t.held}')});

my $lock = $node->background_psql('postgres', on_error_stop => 0);
$lock->query('SELECT pg_advisory_lock(1)');
call_tools($_, 'held', [ [ [ 'held', '{"what": "venom"}' ] ] ], role => 'app') for qw(cancelled interrupted);
wait_until('the calls', sub { value(q(count(*) FROM agno.tool_calls WHERE status = 'pending')) == 2 });
append_to_file($node->data_dir . '/venom', '');

as('app', q(SELECT agno_cancel_run('cancelled')));
foreach my $run (qw(cancelled interrupted))
{
	ok(wait_through_crashes($node, "SELECT finished_at IS NOT NULL FROM agno.runs WHERE run_id = '$run'"), "$run: it ends");
}
is(run_status('cancelled'), 'CANCELLED', 'the one that was cancelled');
expect_run('interrupted', { status => 'ERROR', q(error ->> 'type') => 'interrupted' }, 'the one that crashed its runner');
my $crashes = logged(qr/agno_bg runner.*terminated by signal 6/);
note("$crashes crashes of the runner");
enqueue('after', 'echo');
expect_run('after', { status => 'COMPLETED' }, 'others go on');
is(logged(qr/agno_bg runner.*terminated by signal 6/), $crashes, 'without crashes');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

unlink $node->data_dir . '/venom';
$node->stop;
done_testing();
