# on_complete, of a run or of its agent: a function that is called as the owner when the
# run has ended, whatever way, in the transaction that makes the status final. What it
# raises is told by the run, which keeps its status and its answer, and it can be called
# again. Who sees the status sees what the function did, and it did that once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app', 'other');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA app TO other');
as('app', q{
	CREATE TABLE app.done (run_id text, status text, content text, who text DEFAULT session_user, xid xid8 DEFAULT pg_current_xact_id());
	CREATE FUNCTION app.by_row(r agno.runs) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.done VALUES (r.run_id, r.status, r.content) $$;
	CREATE FUNCTION app.by_id(run_id text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO app.done SELECT r.run_id, r.status, r.content FROM agno.runs r WHERE r.run_id = by_id.run_id; RETURN 'thrown away'; END $$;
	CREATE FUNCTION app.fails(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO app.done VALUES (run_id, 'wrong'); RAISE 'no luck' USING ERRCODE = 'ZZ001'; END $$;
	CREATE FUNCTION app.sometimes(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 'lucky') THEN RAISE 'no luck yet'; END IF;
		INSERT INTO app.done VALUES (run_id, 'lucky'); END $$;
	CREATE FUNCTION app.slow(run_id text) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(1); INSERT INTO app.done VALUES (run_id, 'slow') $$;
	CREATE FUNCTION app.late(run_id text) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.once VALUES (1), (1) $$;
	CREATE TABLE app.once (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
	CREATE FUNCTION app.stable(run_id text) RETURNS text STABLE LANGUAGE sql AS 'SELECT run_id';
	CREATE FUNCTION app.many(run_id text) RETURNS SETOF text LANGUAGE sql AS 'SELECT run_id';
	INSERT INTO agno.agents (agent_id, model, on_complete) VALUES ('a', 'mock:echo', 'app.by_id');}
	=~ s/CREATE FUNCTION app.late.*\n(.*)\n/$1\n\tCREATE FUNCTION app.late(run_id text) RETURNS void LANGUAGE sql AS \$\$ INSERT INTO app.once VALUES (1), (1) \$\$;\n/r);
sub start { my ($id, $model, %more) = @_; enqueue($id, $model, role => 'app', on_complete => 'app.by_row', %more); }
sub done { return value("string_agg(status || ':' || coalesce(content, ''), ' ') FROM app.done WHERE run_id = '$_[0]'"); }

#-------------------------------------------------------------------------
# Each end
#-------------------------------------------------------------------------

start('row', 'echo');
expect_run('row', { status => 'COMPLETED', error => undef }, 'a run with on_complete');
is(done('row'), 'COMPLETED:You said: row', 'which has been called with the row');
is(value(q(who || ' ' || (d.xid::text = r.xmin::text) FROM app.done d JOIN agno.runs r USING (run_id) WHERE run_id = 'row')), 'app true',
	'as the owner, in the transaction that made the status final');
start('id', 'echo', on_complete => 'app.by_id');
expect_run('id', { status => 'COMPLETED' }, 'a function of the id');
is(done('id'), 'COMPLETED:You said: id', 'sees the run as it has ended');
as('app', q(SELECT agno_arun('x', agent_id => 'a', run_id => 'agent')));
expect_run('agent', { status => 'COMPLETED' }, 'that of an agent');
is(done('agent'), 'COMPLETED:You said: x', 'is called');
is(value(q(on_complete FROM agno.agents)), 'app.by_id(pg_catalog.text)', 'and kept with its signature');
as('app', q(SELECT agno_arun('x', agent_id => 'a', run_id => 'both', on_complete => 'app.by_row')));
expect_run('both', { status => 'COMPLETED' }, 'an argument wins');
is(done('both'), 'COMPLETED:You said: x', 'and only that is called');
start('error', 'status-400');
expect_run('error', { status => 'ERROR' }, 'ERROR');
like(done('error'), qr/^ERROR:/, 'is an end');
start('hang', 'hang');
wait_for_request('hang');
is(as('app', q(SELECT agno_cancel_run('hang'))), 't', 'a cancel of a run in flight');
expect_run('hang', { status => 'CANCELLED' }, 'CANCELLED');
is(done('hang'), 'CANCELLED:Run hang was cancelled', 'is one, too');
start('later', 'echo', run_at => \q(now() + interval '1 h'));
is(as('app', q(SELECT agno_cancel_run('later'))), 't', 'a cancel of a run that waits');
ok($node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM app.done WHERE run_id = 'later'))), 'calls as well');
as('app', q(SELECT agno_cancel_run('before')));
start('before', 'echo');
ok($node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM app.done WHERE run_id = 'before'))), 'as does one before the run');
start('timeout', 'hang', timeout => '500 ms');
expect_run('timeout', { status => 'ERROR' }, 'a timeout');
like(done('timeout'), qr/^ERROR:/, 'too');
is(value(q(count(*) FROM app.done WHERE run_id IN ('later', 'before', 'timeout', 'hang', 'error'))), 5, 'each once');

#-------------------------------------------------------------------------
# Failures
#-------------------------------------------------------------------------

start('fails', 'echo', on_complete => 'app.fails');
expect_run('fails', { status => 'COMPLETED', content => 'You said: fails', q(error->>'type') => 'on_complete', q(error->>'message') => 'no luck',
		q(error->>'sqlstate') => 'ZZ001' }, 'a function that fails leaves status and answer alone');
is(done('fails'), '', 'and nothing behind');
start('failed', 'status-400', on_complete => 'app.fails');
expect_run('failed', { status => 'ERROR', q(error->'on_complete'->>'message') => 'no luck', q(error->>'http_status') => '400' }, 'of a run that has failed both is told');
start('deferred', 'echo', on_complete => 'app.late');
expect_run('deferred', { status => 'COMPLETED', q(error->>'sqlstate') => '23505' }, 'deferred constraints are its own, too');
is(value(q(sum(callback_errors) FROM agno.stats)), 3, 'agno.stats counts them');
start('again', 'echo', on_complete => 'app.sometimes');
expect_run('again', { status => 'COMPLETED', q(error->>'message') => 'no luck yet' }, 'a function that fails for a while');
$node->safe_psql('postgres', 'CREATE TABLE public.lucky ()');
is(outcome_as('other', q(SELECT agno_requeue_callback('again'))), '42704', 'another role does not call it again');
is(as('app', q(SELECT (agno_requeue_callback('again')).status)), 'COMPLETED', 'its owner does');
ok($node->poll_query_until('postgres', q(SELECT error IS NULL FROM agno.runs WHERE run_id = 'again')), 'and the error is gone');
is(done('again'), 'lucky:', 'with its effect');
is(outcome_as('app', q(SELECT agno_requeue_callback('nothing'))), '42704', 'what is not there is not called');
enqueue('plain', 'echo', role => 'app');
expect_run('plain', { status => 'COMPLETED' }, 'a run without on_complete');
is(outcome_as('app', q(SELECT agno_requeue_callback('plain'))), '55000', 'has none to call again');
start('gone', 'slow-500', on_complete => 'app.by_id');
as('app', 'ALTER FUNCTION app.by_id(text) RENAME TO renamed');
expect_run('gone', { status => 'COMPLETED', q(error->>'sqlstate') => '42883' }, 'a function that is gone is an error of that kind');

# It may have the run executed again, and sees the next end as well.
as('app', q(CREATE FUNCTION app.retries(r agno.runs) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO app.done VALUES (r.run_id, r.status);
	IF r.status = 'ERROR' AND (SELECT count(*) FROM app.done d WHERE d.run_id = r.run_id) < 3 THEN PERFORM agno_requeue_run(r.run_id); END IF; END $$));
start('retries', 'status-400', on_complete => 'app.retries');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 3 FROM app.done WHERE run_id = 'retries')), 'a function may requeue its run');
expect_run('retries', { status => 'ERROR', q(error->>'type') => 'provider' }, 'until it ends');
is(done('retries'), 'ERROR: ERROR: ERROR:', 'and is called for each end');
# What it sets is not for the next one of the transaction.
as('app', q(CREATE FUNCTION app.sets(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO app.done VALUES (run_id, current_setting('work_mem'), current_user || current_setting('search_path'));
	PERFORM set_config('work_mem', '7MB', true), set_config('search_path', 'app', false), set_config('role', 'team', false); END $$));
$node->safe_psql('postgres', 'CREATE ROLE team; GRANT team TO app; GRANT ALL ON SCHEMA app TO team');
as('app', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'sets-' || n, on_complete => 'app.sets') FROM generate_series(1, 100) n));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 100 FROM agno.runs WHERE run_id LIKE 'sets-%' AND status = 'COMPLETED' AND error IS NULL)), 'settings');
is(value(q(string_agg(DISTINCT status || content, ' ') FROM app.done WHERE run_id LIKE 'sets-%')), '4MBapp"$user", public', 'do not stay');

# Temporary tables are for one call; a function that kills its process is given up; who may not connect is not waited for.
as('app', q(CREATE FUNCTION app.scratch(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	CREATE TEMP TABLE scratch (n int) ON COMMIT DROP; EXECUTE 'PREPARE p AS SELECT 1'; INSERT INTO app.done VALUES (run_id, 'scratch'); END $$;
	CREATE FUNCTION app.die(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); END $$));
as('app', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'scratch-' || n, on_complete => 'app.scratch') FROM generate_series(1, 100) n));
start('die', 'echo', on_complete => 'app.die');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 100 FROM agno.runs WHERE run_id LIKE 'scratch-%' AND status = 'COMPLETED')), 'temporary tables');
is(value(q(count(*) FROM agno.runs WHERE run_id LIKE 'scratch-%' AND error IS NOT NULL)), 0, 'are in nobody\'s way');
expect_run('die', { status => 'COMPLETED', q(error->>'type') => 'on_complete' }, 'a function that kills its process is given up');

#-------------------------------------------------------------------------
# What may be one
#-------------------------------------------------------------------------

is(outcome_as('app', q(SELECT agno_arun('x', model => 'mock:echo', on_complete => 'app.nothing'))), '42883', 'no such function');
is(outcome_as('app', qq(SELECT agno_arun('x', model => 'mock:echo', on_complete => 'app.$_'))), '42809', "$_ functions are none") foreach qw(stable many);
is(outcome_as('app', q(CREATE FUNCTION pg_temp.mine(run_id text) RETURNS void LANGUAGE sql AS ''; SELECT agno_arun('x', model => 'mock:echo', on_complete => 'pg_temp.mine'))), '42809', 'nor are those of one session');
is(outcome_as('app', q(INSERT INTO agno.agents (agent_id, on_complete) VALUES ('b', 'app.nothing'))), '42883', 'nor for an agent');
as('app', 'REVOKE ALL ON FUNCTION app.by_row(agno.runs) FROM PUBLIC');
enqueue('denied', 'echo', role => 'other', on_complete => 'app.by_row');
expect_run('denied', { status => 'COMPLETED', q(error->>'sqlstate') => '42501' }, 'a function that the owner may not call is not called');
is(outcome_as('app', q(SELECT agno_arun('x', model => 'mock:echo', on_complete => 'app.by_row', idempotency_key => 'k'))) ne '', 1, 'a key');
is(outcome_as('app', q(SELECT agno_arun('x', model => 'mock:echo', on_complete => 'app.renamed', idempotency_key => 'k'))), '23505', 'means on_complete, too');

#-------------------------------------------------------------------------
# Many, and slow ones
#-------------------------------------------------------------------------

# All wait when the first is called: how many are called at once does not depend on how fast they come.
configure(max_tool_workers => 0);
as('app', q(SELECT count(agno_arun('x', model => 'mock:echo', run_id => 'many-' || n, on_complete => 'app.by_row')) FROM generate_series(1, 2000) n));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 2000 FROM agno.callbacks)), 'very many wait while nobody calls');
configure(max_tool_workers => 4);
ok($node->poll_query_until('postgres', q(SELECT count(*) = 2000 FROM agno.runs WHERE run_id LIKE 'many-%' AND status = 'COMPLETED')), 'and end');
is(value(q(count(*) || ' ' || count(DISTINCT run_id) FROM app.done WHERE run_id LIKE 'many-%')), '2000 2000', 'are called once each');
cmp_ok(value(q(count(DISTINCT xid) FROM app.done WHERE run_id LIKE 'many-%')), '<', 500, 'many in a transaction');
as('app', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'slow-' || n, on_complete => 'app.slow') FROM generate_series(1, 8) n));
as('other', q(CREATE FUNCTION pg_temp.x() RETURNS int LANGUAGE sql AS 'SELECT 1'));
$node->safe_psql('postgres', q(CREATE FUNCTION public.quick(run_id text) RETURNS void LANGUAGE sql AS ''));
my $start = time;
enqueue('quick', 'echo', role => 'other', on_complete => 'public.quick');
expect_run('quick', { status => 'COMPLETED', error => undef }, 'the functions of others');
cmp_ok(time - $start, '<', 4, 'are not kept waiting by slow ones');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 8 FROM agno.runs WHERE run_id LIKE 'slow-%' AND status = 'COMPLETED')), 'which all are called');
is(value(q(count(*) || ' ' || count(DISTINCT run_id) FROM app.done WHERE run_id LIKE 'slow-%')), '8 8', 'once');

# One of a session after the other
as('app', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'session-' || n, session_id => 's', on_complete => 'app.by_row') FROM generate_series(1, 3) n));
expect_run("session-3", { status => 'COMPLETED' }, 'runs of a session go on');
is(value(q(string_agg(run_id, ' ' ORDER BY xid) FROM app.done WHERE run_id LIKE 'session-%')), 'session-1 session-2 session-3', 'when their predecessor has been called back');

ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_queue))), 'the queue is empty');
is(value('count(*) FROM agno.callbacks'), 0, 'as is that of callbacks');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
done_testing();
