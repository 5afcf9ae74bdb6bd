# agno.run_metrics and agno.top: what is running, what is waiting and for what, what the
# last hour has cost. A role sees its own runs, members of pg_monitor all. A family is
# counted once, although the metrics of a parent contain those of its children.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url, options => ", max_concurrency '1'");
$node->safe_psql('postgres', qq(
	CREATE SERVER away FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://127.0.0.1:1', connect_timeout '200');
	CREATE SERVER free FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url');
	CREATE USER MAPPING FOR PUBLIC SERVER away OPTIONS (api_key 'sk-x');
	CREATE USER MAPPING FOR PUBLIC SERVER free OPTIONS (api_key 'sk-x');
	GRANT USAGE ON FOREIGN SERVER away, free TO PUBLIC;
	CREATE ROLE monitor IN ROLE pg_monitor;
	INSERT INTO agno.prices VALUES ('free', 'echo', 3, 0.5, 10), ('free', 'tools', 2, NULL, 4)));
make_user('alice', 'bob', 'carol');
$node->safe_psql('postgres',
	"SELECT agno_grant_usage('monitor')");

# Each reason to wait
as('alice', q(
	INSERT INTO agno.agents (agent_id, model, tools, requires_confirmation) VALUES
		('waits', 'mock:hang', NULL, NULL), ('later', 'mock:echo', NULL, NULL),
		('far', 'away:echo', NULL, NULL), ('asks', 'free:tools', '{now}', '{now}');
	SELECT agno_arun('first', 'waits', session_id => 's', run_id => 'first')));
wait_for_request('first');
as('alice', q(
	SELECT agno_arun('second', 'waits', session_id => 's', run_id => 'second');
	SELECT agno_arun('third', 'waits', run_id => 'third');
	SELECT agno_arun('later', 'later', run_at => now() + interval '1 hour', run_id => 'later');
	SELECT agno_arun('far', 'far', run_id => 'far')));
call_tools('asks', 'asks', [ [ [ 'now' ] ] ], role => 'alice', session_id => 'decided');
wait_until('the run that asks to be paused', sub { run_status('asks') eq 'PAUSED' });
as('alice', q(SELECT agno_arun('after it', 'asks', session_id => 'decided', run_id => 'after')));
wait_until('the run of a server that is away to say so', sub {
	value("error IS NOT NULL FROM agno.runs WHERE run_id = 'far'") eq 't' });

my $present = q(SELECT agent_id, running, waiting, waiting_for, oldest >= '0 s', paused
	FROM agno.top WHERE agent_id IS NOT NULL ORDER BY 1);
my $alice = join "\n", 'asks|0|1|an earlier run of its session (1)||1',
  'far|0|1|the server, which cannot be reached (1)|t|0',
  'later|0|1|its time (1)||0',
  'waits|1|2|a limit of the server (1), an earlier run of its session (1)|t|0';
# A run whose server is away is tried again and again, so look more than once.
ok(wait_until('agno.top to say what waits for what', sub { as('alice', $present) eq $alice }),
	'agno.top says what waits for what');
ok(wait_until('agno.top to say it to who monitors', sub {
	$node->safe_psql('postgres', "SET ROLE monitor; $present") eq $alice }),
	'who monitors sees it for all');
is(as('bob', 'SELECT count(*) FROM agno.top'), 0, 'others see nothing of it');
is(as('bob', 'SELECT count(*) FROM agno.run_metrics'), 0,
	'nor of the figures of a run');

configure(paused => 'on');
$node->poll_query_until('postgres', "SELECT current_setting('agno_bg.paused')::boolean");
as('bob', "SELECT agno_arun('held', model => 'free:echo', run_id => 'held')");
is(as('bob', 'SELECT server, waiting, waiting_for FROM agno.top'),
	'free|1|agno_bg.paused (1)', 'agno.top says that agno_bg.paused is on');
configure(paused => 'off');
wait_run('held');

# What ended within the hour
as('bob', q(SELECT agno_arun('wrong', model => 'free:status-400', run_id => 'wrong')));
wait_run('wrong');
is(as('bob', q(SELECT running, waiting, waiting_for, oldest, per_minute, ended, errors, error_type,
		p50 > 0, p95 >= p50, input_tokens, output_tokens, cost FROM agno.top)),
	'0|0|||2|2|1|provider|t|t|11|7|0.000098',
	'agno.top says what has ended, failed, taken how long and cost how much');
is(as('bob', q(SELECT status, error_type, took > '0', waited >= '0', input_tokens, cache_read_tokens,
		output_tokens, cost::float8 FROM agno.run_metrics ORDER BY run_id)),
	"COMPLETED||t|t|11|2|7|9.8e-05\nERROR|provider|t|t||||",
	'agno.run_metrics has the figures of each run');

# One that is requeued waits from then on.
$node->safe_psql('postgres', "UPDATE agno.runs SET created_at = created_at - interval '1 day' WHERE run_id = 'wrong'");
configure(paused => 'on');
$node->poll_query_until('postgres', "SELECT current_setting('agno_bg.paused')::boolean");
as('bob', "SELECT agno_requeue_run('wrong')");
is(as('bob', "SELECT waiting, oldest < '1 hour' FROM agno.top WHERE waiting > 0"), '1|t', 'what is requeued has not been waiting before');
as('alice', q(SELECT agno_approve_call('asks')));
ok(wait_until('what has been decided to wait', sub {
	as('alice', q(SELECT waiting_for FROM agno.top WHERE agent_id = 'asks')) =~ /agno_bg.paused \(1\)/ }), 'what goes on after a decision waits');
is(as('alice', q(SELECT oldest < '1 hour' FROM agno.top WHERE agent_id = 'asks')), 't', 'but not for two thousand years');
configure(paused => 'off');
wait_run('wrong');

# A family: each run has its own tokens
as('carol', q(
	INSERT INTO agno.agents (agent_id, model, description, tools) VALUES
		('child', 'free:echo', 'Answers.', NULL), ('parent', 'free:tools', NULL, '{agent:child}')));
call_tools('family', 'parent', [ [ [ 'child', { task => 'a' } ], [ 'child', { task => 'b' } ] ] ],
	role => 'carol');
wait_run('family');
is(as('carol', q(SELECT count(*), (SELECT metrics->>'input_tokens' FROM agno.runs WHERE run_id = 'family')
			= sum(input_tokens)::text, (SELECT metrics->>'output_tokens' FROM agno.runs WHERE run_id = 'family')
			= sum(output_tokens)::text FROM agno.run_metrics)),
	'3|t|t', 'the tokens of a family are counted once');
is(as('carol', q(SELECT run_id, input_tokens = t.own, m.cost = (t.own * 2 + m.output_tokens * 4) / 1000000
		FROM agno.run_metrics m JOIN (SELECT run_id, input_tokens FROM agno.run_tree('family')) t (run_id, own)
			USING (run_id) WHERE m.run_id = 'family')),
	'family|t|t', 'a parent costs what it costs itself');

# Who may do what
is(outcome_as('alice', 'SELECT count(*) FROM agno.prices'), '42501',
	'prices are read by those who have been allowed to');
is(outcome_as('alice', "INSERT INTO agno.prices VALUES ('free', 'x', 1, 1, 1)"), '42501',
	'prices are set by those who have been allowed to');
is(outcome("INSERT INTO agno.prices VALUES ('free', 'x', -1, 1, 1)"), '23514',
	'a price is not negative');

# It does not go through all the runs that there are.
$node->safe_psql('postgres', q(
	INSERT INTO agno.runs (run_id, session_id, status, input, model, model_provider, owner, priority,
		created_at, started_at, finished_at)
	SELECT 'old' || i, 'old' || i, 'COMPLETED', 'x', 'm', 'old', 'bob'::regrole, 0,
		t, t, t FROM (SELECT i, now() - i * interval '1 hour' AS t FROM generate_series(25, 20000) i) o;
	ANALYZE agno.runs));
unlike($node->safe_psql('postgres', 'EXPLAIN TABLE agno.top'), qr/Seq Scan on runs/,
	'agno.top reads the runs of a day and those that have not ended');
is(as('bob', "SELECT count(*) FROM agno.top WHERE server = 'old'"), 0,
	'what ended earlier is not shown');

$node->stop;
done_testing();
