# Those who follow a streamed run with on_complete are told of its end when it has ended:
# after its function, and as what it has ended. And a run whose owner may not connect any
# more ends as CANCELLED if that is what was asked for, and a callback whose row has been
# deleted by hand is made again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_tool_workers = 1\n");
add_mock_server(start_mock('mock'));
make_user('app', 'gone');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app; GRANT ALL ON SCHEMA app TO gone');
my $waits = q{ RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); END $$};
as('app', "CREATE FUNCTION app.waits(run_id text) $waits");
as('gone', "CREATE FUNCTION app.waits_too(run_id text) $waits");

sub events { return value("string_agg(event, ' ' ORDER BY seq) FROM agno.run_events WHERE run_id = '$_[0]'"); }
sub waits_for_call { my ($id) = @_; ok($node->poll_query_until('postgres', "SELECT state = 'b' FROM agno.run_queue WHERE run_id = '$id'"), "$id waits for its function"); }

my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
enqueue($_, 'echo', role => 'app', stream => \'true', on_complete => 'app.waits') foreach qw(done cancelled);
enqueue('failed', 'status-400', role => 'app', stream => \'true', on_complete => 'app.waits');
waits_for_call($_) foreach qw(done cancelled failed);
is(events('done'), 'RunStarted RunContent', 'an answer is not the end');
is(as('app', q(SELECT agno_cancel_run('cancelled'))), 't', 'one is cancelled meanwhile');
ok($node->poll_query_until('postgres', q(SELECT cancelled FROM agno.run_queue WHERE run_id = 'cancelled')), 'as its runner knows');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
expect_run('done', { status => 'COMPLETED' }, 'when the function has been called');
expect_run('cancelled', { status => 'CANCELLED', content => 'You said: cancelled' }, 'so does the other');
expect_run('failed', { status => 'ERROR' }, 'and the third');
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_queue))), 'all have left the queue');
is(events('done'), 'RunStarted RunContent RunCompleted', 'an end is told of');
like(events('cancelled'), qr/^RunStarted RunContent RunCancelled/, 'as what it is');
is(events('failed'), 'RunStarted RunError', 'each of them');

$holder->query_safe('SELECT pg_advisory_lock(1)');
enqueue($_, 'echo', role => 'gone', on_complete => 'app.waits_too') foreach qw(kept ended);
enqueue('deleted', 'echo', role => 'app', on_complete => 'app.waits');
waits_for_call($_) foreach qw(kept ended deleted);
$node->safe_psql('postgres', 'ALTER ROLE gone NOLOGIN');
is($node->safe_psql('postgres', q(SELECT agno_cancel_run('ended'))), 't', 'a superuser cancels a run of a role that may not connect any more');
ok($node->poll_query_until('postgres', q(SELECT cancelled FROM agno.run_queue WHERE run_id = 'ended')), 'as its runner knows');
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'agno_bg tool%'));
$holder->query_safe('SELECT pg_advisory_unlock(1)');
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.callbacks WHERE run_id = 'deleted'))), 'the function of the third');
$holder->query_safe('SELECT pg_advisory_lock(1)');
enqueue('first', 'echo', role => 'app', on_complete => 'app.waits');
waits_for_call('first');
enqueue('lost', 'echo', role => 'app', on_complete => 'app.waits');
waits_for_call('lost');
is($node->safe_psql('postgres', q(DELETE FROM agno.callbacks WHERE run_id = 'lost' RETURNING run_id)), 'lost', 'a row of a callback is deleted');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
# The runner looks once a minute.
ok($node->poll_query_until('postgres', q(WITH u AS (UPDATE agno.run_queue SET run_at = clock_timestamp() WHERE state = 'b' AND run_at > clock_timestamp() + '10 s'::interval) SELECT true)), 'a minute later');
configure(max_concurrent_runs => 999);
expect_run('kept', { status => 'COMPLETED' }, 'a run that nobody can call for');
expect_run('ended', { status => 'CANCELLED' }, 'or that was cancelled');
expect_run('lost', { status => 'COMPLETED' }, 'and one that has lost its callback');
$holder->quit;
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_queue))), 'the queue is empty');
is($node->safe_psql('postgres', queue_violations()), '', 'and as it should be');
done_testing();
