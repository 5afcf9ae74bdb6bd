# A run that has ended but for its on_complete is its owner's alone: a cancel of another
# role changes nothing, in whatever state of the queue the run is, and a callback that is
# left of a run which is gone is not made for another role's run of the same id.

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
make_user('app', 'other');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA app TO other');
as('app', q{
	CREATE TABLE app.loot (run_id text, owner text, input text);
	CREATE FUNCTION app.waits(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); END $$;
	CREATE FUNCTION app.steals(r agno.runs) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.loot VALUES (r.run_id, r.owner::text, r.input) $$;});

#-------------------------------------------------------------------------
# A stranger's cancel
#-------------------------------------------------------------------------

my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
enqueue("waits$_", 'echo', role => 'app', on_complete => 'app.waits') foreach 1 .. 3;
enqueue('later', 'echo', role => 'app', run_at => \q(now() + interval '1 h'));
enqueue('flies', 'hang', role => 'app', session_id => 's');
enqueue('behind', 'echo', role => 'app', session_id => 's');
wait_for_request('flies');
my @ids = (qw(waits1 waits2 waits3 later flies behind));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 3 FROM agno.run_queue WHERE state = 'b')), 'three runs wait for their function');
is(as('other', "SELECT string_agg(agno_cancel_run(id)::text, ' ') FROM unnest('{" . join(',', @ids) . "}'::text[]) id"),
	'false false false false false false', 'another role cancels them');
# The signals have been read when a later one has.
enqueue('last', 'hang', role => 'app');
wait_for_request('last');
is(as('app', q(SELECT agno_cancel_run('last'))), 't', 'and the owner one of its own');
expect_run('last', { status => 'CANCELLED' }, 'that one');
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM agno.run_signals)'), 'all signals have been read');
is(value("count(*) FROM agno.run_queue WHERE cancelled"), '0', 'nothing is to be cancelled');
is(as('app', q(SELECT agno_cancel_run('waits3'))), 't', 'what the owner cancels meanwhile');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
expect_run("waits$_", { status => 'COMPLETED', content => "You said: waits$_" }, "waits$_") foreach 1 .. 2;
expect_run('waits3', { status => 'CANCELLED' }, 'is CANCELLED');
is(as('app', q(SELECT agno_cancel_run('flies'))), 't', 'its own in flight');
expect_run('flies', { status => 'CANCELLED' }, 'is, too');
expect_run('behind', { status => 'COMPLETED' }, 'and the next one goes on');

#-------------------------------------------------------------------------
# A callback of a run that is gone
#-------------------------------------------------------------------------

enqueue('invoice', 'echo', role => 'app', on_complete => 'app.steals', input => 'mine');
expect_run('invoice', { status => 'COMPLETED' }, 'a run');
$holder->query_safe('SELECT pg_advisory_lock(1)');
enqueue('busy', 'echo', role => 'app', on_complete => 'app.waits');
ok($node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM agno.run_queue WHERE run_id = 'busy' AND state = 'b'))), 'the worker is busy');
is(as('app', q(SELECT (agno_requeue_callback('invoice')).status)), 'COMPLETED', 'its function is to be called again');
configure(retention => '1s');
enqueue('old', 'echo', role => 'other');
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.runs WHERE run_id = 'old'))), 'what is old goes');
is(run_status('invoice'), 'COMPLETED', 'but what is to be called back stays');
configure(retention => '0');
$node->safe_psql('postgres', q(DELETE FROM agno.runs WHERE run_id = 'invoice'; DELETE FROM agno.run_requests WHERE run_id = 'invoice'));
enqueue('invoice', 'hang', role => 'other', input => 'secret');
wait_for_request('secret');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
expect_run('busy', { status => 'COMPLETED' }, 'the worker goes on');
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM agno.callbacks)'), 'and does away with the callback');
is(value("count(*) FROM app.loot WHERE owner = 'other'"), '0', 'without telling anything of the run of another role');
is(run_status('invoice'), 'RUNNING', 'or ending it');
is(as('other', q(SELECT agno_cancel_run('invoice'))), 't', 'whose owner ends it');
expect_run('invoice', { status => 'CANCELLED' }, 'it');
$holder->quit;

is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
done_testing();
