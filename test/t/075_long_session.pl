# A long session: what it takes to start a run does not grow with the runs of its
# session that wait behind it, nor without bound with those that have failed.
# Counted as the rows of agno.runs that are fetched by an index.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => 'autovacuum = off');
my $url = start_mock('mock');
add_mock_server($url);
$node->safe_psql(
	'postgres', q(
	INSERT INTO agno.agents (agent_id, model, add_history_to_context)
		VALUES ('talker', 'mock:echo', true)));

# How many rows of agno.runs are fetched while runs complete, up to this one.
sub fetched_by
{
	my ($enqueue, $run) = @_;
	my $query = "idx_tup_fetch FROM pg_stat_user_tables
		WHERE relid = 'agno.runs'::regclass";
	my ($before, $after, $last);

	configure(paused => 'on');
	$node->safe_psql('postgres', $enqueue);
	$node->safe_psql('postgres', 'SELECT pg_stat_force_next_flush()');
	$before = value($query);
	configure(paused => 'off');
	is(wait_run($run), 'COMPLETED', "run $run completes");

	# The runner reports when it has nothing to do.
	wait_until('the statistics', sub {
		$last = $after // -1;
		$after = value($query);
		sleep 1;
		return $after == $last && $after > $before;
	});
	return $after - $before;
}

my $waiting = fetched_by(q(SELECT count(agno_arun('x', 'talker', 'long', 'run' || i))
	FROM generate_series(1, 1000) i), 'run1000');
note("a run of a thousand fetches " . $waiting / 1000 . ' rows');
cmp_ok($waiting / 1000, '<', 50,
	'a run looks at no runs of its session that wait behind it');

# Runs that have failed are no history, but are looked at
$node->safe_psql(
	'postgres', q(
	INSERT INTO agno.runs (run_id, session_id, status, input, model,
		model_provider, owner, priority, created_at, finished_at)
	SELECT 'failed' || i, 'long', 'ERROR', 'x', 'm', 'mock',
		'postgres'::regrole, 0, now() + i * interval '1 us', now()
	FROM generate_series(1, 20000) i));
my $failed = fetched_by(q(SELECT agno_arun('after', 'talker', 'long', 'after')), 'after');
note("a run after 20,000 that failed fetches $failed rows");
cmp_ok($failed, '<', 5000,
	'a run looks at a bounded number of runs that have failed');
is(scalar @{ (mock_requests('mock', 'after'))[0]->{body}{input} },
	1, 'a run after too many that have failed has no history');

# Many such sessions: in one turn of the runner, only so many runs are started for
# which it has to look far back. The others are for the next turns.
configure(paused => 'on');
$node->safe_psql(
	'postgres', q(
	ALTER TABLE agno.runs SET (fillfactor = 100);
	INSERT INTO agno.runs (run_id, session_id, status, input, model,
		model_provider, owner, priority, created_at, finished_at)
	SELECT 'f' || s || '-' || i, 'failing' || s, 'ERROR', 'x', 'm', 'mock',
		'postgres'::regrole, 0, now() - i * interval '1 us', now()
	FROM generate_series(1, 2500) i, generate_series(1, 24) s;
	SELECT count(agno_arun('x', 'talker', 'failing' || s, 'hangs' || s,
		model => 'mock:hang')) FROM generate_series(1, 24) s));
configure(paused => 'off');
$node->poll_query_until('postgres', "SELECT count(*) = 24 FROM agno.runs
	WHERE run_id LIKE 'hangs%' AND status = 'RUNNING'");
my $most = value("max(n) FROM (SELECT count(*) AS n FROM agno.runs
	WHERE run_id LIKE 'hangs%' GROUP BY xmin::text) t");
cmp_ok($most, '<=', 10, "$most runs with far looks back are started in one turn");

$node->stop;
done_testing();
