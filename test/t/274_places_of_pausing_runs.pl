# A model server has room for one run, which pauses before it asks again: the account of its
# key has had too much, or the server has failed. Its place is for others until then, and if
# they have runs waiting, it is after them in turn. It asks no more often than its retries
# say, and its pause ends as if it had kept the place where nobody else wants that.

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
my $mock = start_mock('mock');
add_mock_server($mock, name => 'narrow', options => ", max_concurrency '1', retries '2'");
make_user('one', 'two');
$node->safe_psql('postgres', q(CREATE USER MAPPING FOR one SERVER narrow OPTIONS (api_key 'sk-one')));

# Nobody else: the run stays in flight.
enqueue('alone', 'narrow:after-1500-429', role => 'one');
wait_for_answer('alone');
is(run_status('alone'), 'RUNNING', 'a run that pauses is in flight');
expect_run('alone', { status => 'COMPLETED', attempt => 1, "finished_at - created_at < '4 s'" => 'true' });

# Its key is blocked, which is no reason for others to wait.
enqueue('blocked', 'narrow:after-6000-429', role => 'one');
wait_for_answer('blocked');
my $start = time;
like(outcome_as('two', q(CALL agno_run('x', model => 'narrow:echo'))), qr{\|COMPLETED\|}, 'another one has the place');
cmp_ok(time - $start, '<', 4, 'before the pause is over');
expect_run('blocked', { status => 'COMPLETED', attempt => 1 });
is(mock_count('mock', 'blocked'), 2, 'and is repeated once');

# The server fails, and others have more runs for it than it can answer meanwhile.
as('two', q(SELECT count(agno_arun('many', run_id => 'many-' || i, model => 'narrow:slow-200')) FROM generate_series(1, 40) i));
wait_until('one of them to run', sub { value(q(count(*) FROM agno.runs WHERE run_id ~ '^many-' AND status = 'RUNNING')) == 1 });
enqueue('failing', 'narrow:status-500', role => 'one');
expect_run('failing', { status => 'ERROR', attempt => 1, "error ->> 'type'" => 'provider' });
is(mock_count('mock', 'failing'), 3, 'a run asks as often as its retries say');
cmp_ok(value(q(count(*) FROM agno.runs WHERE run_id ~ '^many-' AND finished_at IS NULL)), '>', 10, 'and waits for its turn, not for all others');
is(value(q(max(attempt) FROM agno.runs WHERE run_id ~ '^many-')), 1, 'the others are as ever');
wait_until('the others to be done', sub { value(q(count(*) FROM agno.runs WHERE finished_at IS NULL)) == 0 });

as('one', q(SELECT agno_requeue_run('failing')));
expect_run('failing', { status => 'ERROR', attempt => 2 }, 'and fails again');
is(mock_count('mock', 'failing'), 6, 'after as many requests');

# A server that fails for a while does not get all that waits for it.
add_mock_server($mock, name => 'down', options => ", max_concurrency '4', retries '2'");
as('two', q(SELECT count(agno_arun('down', model => 'down:status-500')) FROM generate_series(1, 200) i));
wait_until('one of them to have ended', sub { value(q(count(*) FROM agno.runs WHERE model_provider = 'down' AND status = 'ERROR')) > 0 });
cmp_ok(mock_count('mock', 'down'), '<', 40, 'those who pause keep others of their owner waiting');
as('two', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE model_provider = 'down' AND finished_at IS NULL));

# The pauses double, though each request is one of another start.
add_mock_server($mock, name => 'other', options => ", max_concurrency '1', retries '4'");
as('two', q(SELECT count(agno_arun('many', run_id => 'others-' || i, model => 'other:slow-200')) FROM generate_series(1, 60) i));
wait_until('one of them to run', sub { value(q(count(*) FROM agno.runs WHERE run_id ~ '^others-' AND status = 'RUNNING')) == 1 });
enqueue('doubling', 'other:status-500', role => 'one');
expect_run('doubling', { status => 'ERROR' }, 'a run fails between those of others');
is(mock_count('mock', 'doubling'), 5, 'after as many requests');
cmp_ok(value(q(extract(epoch FROM finished_at - created_at) FROM agno.runs WHERE run_id = 'doubling')), '>', 5, 'with pauses that double');
as('two', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE run_id ~ '^others-' AND finished_at IS NULL));

# Each request of a run with tools may be repeated so often, whether it has kept its place
# while it paused or not.
$node->safe_psql('postgres', q(
	CREATE FUNCTION says(k text) RETURNS text LANGUAGE sql AS 'SELECT k';
	SET ROLE one;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('steps', 'steps:tools', '{public.says}')));
add_mock_server($mock, name => 'steps', options => ", max_concurrency '1', retries '2'");
as('two', q(SELECT count(agno_arun('many', run_id => 'more-' || i, model => 'steps:slow-200')) FROM generate_series(1, 60) i));
wait_until('one of them to run', sub { value(q(count(*) FROM agno.runs WHERE run_id ~ '^more-' AND status = 'RUNNING')) == 1 });
my $call = '[{"name": "says", "arguments": {"k": "a"}}]';
enqueue('steps', 'steps:tools', role => 'one', agent_id => 'steps', input => qq({"id": "steps", "fail": "each", "calls": [$call, $call, $call]}));
expect_run('steps', { status => 'COMPLETED', attempt => 1 }, 'a run with tools has its retries for each request');
cmp_ok(value(q(count(*) FROM agno.runs WHERE run_id ~ '^more-' AND finished_at IS NULL)), '>', 10, 'between the runs of others');
as('two', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE run_id ~ '^more-' AND finished_at IS NULL));

# Whoever waits may not have more: that keeps nobody from coming back.
add_mock_server($mock, name => 'wide', options => ", max_concurrency '100', retries '2'");
as('two', q(SELECT count(agno_arun('many', run_id => 'long-' || i, model => 'wide:hang')) FROM generate_series(1, 93) i));
wait_until('as many as may', sub { value(q(count(*) FROM agno.runs WHERE run_id ~ '^long-' AND status = 'RUNNING')) == 90 });
$start = time;
as('one', q(SELECT count(agno_arun('returning' || i, run_id => 'returning-' || i, model => 'wide:flaky-1-500-2000')) FROM generate_series(1, 6) i));
wait_until('those who pause to be done', sub { value(q(count(*) FROM agno.runs WHERE run_id ~ '^returning-' AND finished_at IS NULL)) == 0 });
note(sprintf('six came back in %.2f s', time - $start));
cmp_ok(time - $start, '<', 4.5, 'who has room comes back beside runs that may not start');
is(value(q(count(*) FROM agno.runs WHERE run_id ~ '^returning-' AND status = 'COMPLETED')), 6, 'and has its answer');
as('two', q(SELECT count(agno_cancel_run('long-' || i)) FROM generate_series(1, 93) i));

# The time of an attempt is over while it pauses.
enqueue('late', 'narrow:after-5000-429', role => 'one', timeout => '1s');
expect_run('late', { status => 'ERROR', "error ->> 'type'" => 'timeout' });
like(outcome_as('two', q(CALL agno_run('x', model => 'narrow:echo'))), qr{\|COMPLETED\|}, 'the place of a run that ends in its pause is free');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
