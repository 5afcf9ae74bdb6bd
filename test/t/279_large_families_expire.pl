# A family of runs with large answers is old enough to be deleted: not all of it at once, which
# would keep the runner from everything else; nor all events of a run that has large ones. What
# somebody refers to stays, and nothing else because of that.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $mock = start_mock('mock');
add_mock_server($mock);
make_user('app', 'held');
as('app', q(SELECT count(agno_arun('x', run_id => 'child-' || i, model => 'mock:echo')) FROM generate_series(1, 10) i));
as('app', qq(CALL agno_run('x', run_id => '$_', model => 'mock:echo'))) foreach 'top', 'told';
as('held', qq(CALL agno_run('x', run_id => '$_', model => 'mock:echo'))) foreach 'held', 'below';
wait_until('all to be done', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });

# In which transactions they are deleted. One run is kept by a foreign key, but not what it
# has enqueued.
$node->safe_psql('postgres', q(
	UPDATE agno.runs SET parent_run_id = 'top' WHERE run_id ~ '^child-';
	CREATE TABLE large AS SELECT string_agg(md5(i::text), '') AS text FROM generate_series(1, 300000) i;
	UPDATE agno.runs SET content = text FROM large WHERE run_id ~ '^child-';
	UPDATE agno.runs SET content = text || text FROM large WHERE run_id IN ('held', 'below');
	UPDATE agno.runs SET parent_run_id = 'held' WHERE run_id = 'below';
	INSERT INTO agno.run_events (run_id, seq, event, data, created_at)
		SELECT 'told', 1000 + i, 'RunContent', to_jsonb(text), now() FROM large, generate_series(1, 6) i;
	CREATE TABLE keeps (run_id text COLLATE "C" REFERENCES agno.runs);
	INSERT INTO keeps VALUES ('held');
	CREATE TABLE deleted (what text, xid xid8);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql
		AS $$ BEGIN INSERT INTO public.deleted VALUES (TG_TABLE_NAME, pg_current_xact_id()); RETURN OLD; END $$;
	CREATE TRIGGER note AFTER DELETE ON agno.runs FOR EACH ROW WHEN (OLD.run_id ~ '^child-') EXECUTE FUNCTION note();
	CREATE TRIGGER note AFTER DELETE ON agno.run_events FOR EACH ROW WHEN (OLD.seq > 1000) EXECUTE FUNCTION note()));
configure(retention => '1s');
wait_until('all but one to be deleted', sub { value('count(*) FROM agno.runs') == 1 });
is(value('run_id FROM agno.runs'), 'held', 'what somebody refers to stays, and keeps nothing else');
is(value(q(count(*) FROM deleted)), 16, 'each is deleted once');
cmp_ok(value(q(count(DISTINCT xid) FROM deleted WHERE what = 'runs')), '>=', 5, 'no more of a family at once than it has bytes for');
is(value('count(*) FROM agno.run_events'), 0, 'with all their events');

# What is large is the name of their user, which their sessions have, too; and somebody refers
# to a call of one run, which has many, while a step does not suffice for two.
configure(retention => '0');
as('app', q(SELECT count(agno_arun('x', run_id => 'child-' || i, model => 'mock:echo')) FROM generate_series(1, 10) i));
as('app', qq(CALL agno_run('x', run_id => '$_', model => 'mock:echo'))) foreach 'top', 'called', 'after';
wait_until('all to be done', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
$node->safe_psql('postgres', q(
	TRUNCATE deleted;
	UPDATE agno.runs SET parent_run_id = 'top', user_id = text FROM large WHERE run_id ~ '^child-';
	UPDATE agno.sessions s SET user_id = text FROM large, agno.runs r WHERE r.session_id = s.session_id AND r.run_id ~ '^child-';
	INSERT INTO agno.tool_calls (run_id, turn, call_no, tool_call_id, model_call_id, tool, status, attempt)
		SELECT 'called', 1, i, 'call' || i, 'call', 'f', 'completed', 1 FROM generate_series(1, 1500) i;
	CREATE TABLE ledger (call text COLLATE "C" REFERENCES agno.tool_calls (tool_call_id));
	INSERT INTO ledger VALUES ('call1400');
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.25); RETURN OLD; END $$;
	CREATE TRIGGER slow BEFORE DELETE ON agno.runs FOR EACH ROW EXECUTE FUNCTION slow()));
configure(retention => '1s');
wait_until('all but two to be deleted', sub { value('count(*) FROM agno.runs') == 2 });
is(value('string_agg(run_id, $$ $$ ORDER BY run_id) FROM agno.runs'), 'called held', 'what somebody refers to stays');
is(value('count(*) FROM agno.tool_calls'), 1500, 'and loses nothing');
cmp_ok(value(q(count(DISTINCT xid) FROM deleted WHERE what = 'runs')), '>=', 8, 'with their sessions, fewer at once');

# Whatever may be long is counted.
my $known = slurp_file("$FindBin::Bin/../../src/store/store_retention.c");
my %short = map { $_ => 1 } qw(run_id session_id agent_id parent_run_id child_run_id tool_call_id requirement_id content_type
	model_provider status kind decision fingerprint sqlstate event idempotency_key request_hash on_complete);
my @uncounted = grep { my $column = $_; !$short{$column} && $known !~ /SIZE\("\w\.$column"\)/ }
	split /\n/, value(q(string_agg(DISTINCT attname, E'\n') FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
		WHERE relnamespace = 'agno'::regnamespace AND attnum > 0 AND attlen = -1 AND NOT attisdropped
		AND relname IN ('runs', 'sessions', 'run_requests', 'run_events', 'tool_calls', 'requirements', 'run_steps')));
is("@uncounted", '', 'every column that may be long is counted');

$node->stop;
done_testing();
