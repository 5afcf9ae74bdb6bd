# Tool workers of one role take calls of the same turns by turns, and have read the
# next calls of a turn before they make them: none makes a call that another has made
# since, not even to have it undone; a sequence, which nothing undoes, counts that.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $calls) = (3, 200);
my $node = new_node('main', conf => "agno_bg.max_tool_workers = 4\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(GRANT CREATE ON SCHEMA public TO app));
as('app', q{
	CREATE SEQUENCE ticks;
	CREATE TABLE made (run_id text, i integer);
	CREATE FUNCTION tick(i integer) RETURNS bigint LANGUAGE sql AS $$
		INSERT INTO made VALUES (current_setting('agno_bg.run_id'), i);
		SELECT pg_sleep(0.001);
		SELECT nextval('ticks') $$;
	INSERT INTO agno.agents (agent_id, model, tools, tool_call_limit) VALUES ('ticker', 'mock:tools', '{public.tick}', 1000)});
call_tools("run $_", 'ticker', [ [ map { [ tick => { i => $_ } ] } 1 .. $calls ] ], role => 'app') foreach 1 .. $runs;
ok($node->poll_query_until('postgres', q(SELECT count(*) > 1 FROM agno.workers WHERE kind = 'tool worker' AND role = 'app')), 'several workers are at it');
expect_run("run $_", { status => 'COMPLETED', attempt => 1 }, "run $_ ends") foreach 1 .. $runs;
is(value(q(count(DISTINCT (run_id, i)) || ' of ' || count(*) FROM made)), join(' of ', ($runs * $calls) x 2), 'each call is made once');
is(value(q(last_value FROM ticks)), $runs * $calls, 'and none is made in vain');
is(value(q(count(DISTINCT xid) FROM agno.tool_calls WHERE status = 'completed')), $runs * $calls, 'in a transaction of its own');

# Another worker comes between two calls: it is played by one who has the lock that
# workers queue for, and whose call a third one has made meanwhile.
my $holder = $node->background_psql('postgres');
my $other = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
as('app', q{
	CREATE FUNCTION wait(i integer) RETURNS bigint LANGUAGE sql AS $$ SELECT pg_advisory_xact_lock(42); SELECT tick(i) $$;
	UPDATE agno.agents SET tools = '{public.tick,public.wait}'});
call_tools('between', 'ticker', [ [ [ wait => { i => 1 } ], map { [ tick => { i => $_ } ] } 2 .. 3 ] ], role => 'app');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)), 'a call is being made, and the next ones have been read');
$other->query_until(qr/go/, "\\echo go\nBEGIN; LOCK TABLE agno.tool_queue IN EXCLUSIVE MODE;\n");
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE relation = 'agno.tool_queue'::regclass AND NOT granted)), 'somebody waits for it');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
$other->query_safe(q(UPDATE agno.tool_queue SET holder = 1 WHERE run_id = 'between';
	UPDATE agno.tool_calls SET status = 'completed', result = 'by another' WHERE run_id = 'between' AND call_no = 2; COMMIT));
expect_run('between', { status => 'COMPLETED', content => qr/by another/, attempt => 1 }, 'a call that another has made is not made again');
is(value(q(last_value FROM ticks)), $runs * $calls + 2, 'not even in vain');

is($node->safe_psql('postgres', queue_violations()), '', 'the queue is in order');
$holder->quit;
$other->quit;
$node->stop;
done_testing();
