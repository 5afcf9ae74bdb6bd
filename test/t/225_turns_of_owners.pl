# Much of one role takes long for each of its runs, but no run takes too long for a turn: the
# others have as much of the runner's time. So it is with what a run says, bit by bit,
# after it has said much.
# Fault injected: a trigger takes its time for each run of a role.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => 'agno_bg.max_concurrent_runs = 200');
add_mock_server(start_mock('mock'));
make_user('app', 'boss');

# The seconds that many runs of boss take.
sub seconds_of_many
{
	my $start = time;
	as('boss', q(SELECT count(agno_arun('many', model => 'mock:echo')) FROM generate_series(1, 1000)));
	ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_queue WHERE owner = 'boss'::regrole))), 'runs of another role are executed');
	note(time - $start);
	return time - $start;
}

my $undisturbed = seconds_of_many();
slow_runs('app', 'COMPLETED', 0.045);
as('app', q(SELECT count(agno_arun('x', model => 'mock:echo')) FROM generate_series(1, 2000)));
my $done = q(count(*) FROM agno.runs WHERE owner = 'app'::regrole AND status = 'COMPLETED');
ok($node->poll_query_until('postgres', "SELECT (SELECT $done) > 20"), 'each run of a role takes its time');
my ($start, $before) = (time, value($done));
# It is the runner's time that is shared; it is also waited for, and commits.
my $longest = 6 * $undisturbed + 4;
cmp_ok(seconds_of_many(), '<', $longest, 'in about twice their time') for 1 .. 2;
my $rate = (value($done) - $before) / (time - $start);
note($rate);
cmp_ok($rate, '>', 2, 'the others go on meanwhile');
is(value('count(*) FROM agno.runs WHERE attempt > 1'), 0, 'none was sent twice');
$node->safe_psql('postgres', 'DROP TRIGGER slow ON agno.runs');
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_queue))), 'and are all executed');

# Runs whose turn took too long are stored when their owner has rested, though nothing else
# happens then.
slow_runs('app', 'COMPLETED', 0.01);
close_gate();
enqueue('waits', 'hang', input => 'waits', role => 'boss');
as('app', q(SELECT count(agno_arun('gate', model => 'mock:gate')) FROM generate_series(1, 40)));
wait_for_request('waits');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 40 FROM agno.runs WHERE input = 'gate' AND status = 'RUNNING')), 'many wait for their answers');
$start = time;
open_gate();
ok($node->poll_query_until('postgres', q(SELECT count(*) = 40 FROM agno.runs WHERE input = 'gate' AND status = 'COMPLETED')), 'all are stored');
cmp_ok(time - $start, '<', 6, 'soon');
as('boss', q(SELECT agno_cancel_run('waits')));
wait_run('waits');
$node->safe_psql('postgres', 'DROP TRIGGER slow ON agno.runs');

# Much is said with a call, and little, in many pieces, after it.
$node->safe_psql('postgres', q(CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION one TO app));
as('app', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('one', 'mock:tools', '{one}');
	SELECT agno_arun(json_build_object('id', 'much', 'say', json_build_array((SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100000) i)), 'pause', 60,
		'final', (SELECT string_agg('w' || i, ' ') FROM generate_series(1, 80) i), 'calls', '[[{"name": "one", "arguments": {}}]]'::json)::text, 'one', run_id => 'much', stream => true)));
sub wal_when_told
{
	my ($word) = @_;
	ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM agno.run_events WHERE run_id = 'much' AND data ->> 'content' ~ '^(w[0-9]+ )*$word '"), "it is told of $word");
	return value("pg_current_wal_insert_lsn() - '0/0'");
}
my $first = wal_when_told('w5');
my $written = wal_when_told('w60') - $first;
note($written);
cmp_ok($written, '<', 3000000, 'what has been said before is not written again');
expect_run('much', { status => 'COMPLETED', q(right(content, 7)) => 'w79 w80', q(length(content) > 3200000) => 'true' }, 'but in the end');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
