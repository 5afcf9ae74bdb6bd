# The functions of many streamed runs with large answers have been called at once: what
# those who follow them are told of their ends is read as far as a turn may have it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (60, new_node('main', conf => "agno_bg.max_tool_workers = 1\n"));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q(CREATE FUNCTION app.waits(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); END $$));
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
as('app', "SELECT count(agno_arun(repeat('x', 3000000), model => 'mock:echo', stream => true, on_complete => 'app.waits')) FROM generate_series(1, $runs)");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.run_queue WHERE state = 'b'"), 'all wait for their function');
my $runner = runner_pid();
PostgreSQL::Test::Utils::append_to_file("/proc/$runner/clear_refs", '5');
my $before = status_of($runner, 'VmHWM');
# While the runner sleeps all of them are called back.
kill 'STOP', $runner;
$holder->query_safe('SELECT pg_advisory_unlock(1)');
my $called = $node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM agno.callbacks)');
kill 'CONT', $runner;
ok($called, 'all are called back');
as('boss', q(CALL agno_run('x', model => 'mock:echo')));
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM agno.run_queue)'), 'all leave the queue');
is(runner_pid(), $runner, 'by the same runner');
is(value(q(count(*) FROM agno.run_events WHERE event = 'RunCompleted')), $runs, 'and are told of, once each');
my $after = status_of($runner, 'VmHWM');
note($after - $before);
cmp_ok($after - $before, '<', 400000, 'without all of them in memory (kB)');
is($node->safe_psql('postgres', queue_violations()), '', 'nothing is stuck');
$node->stop;
done_testing();
