# Events, requests and results of each length around those at which a buffer of
# the runner is full and moves: nothing crashes, and what is stored is what was
# said, to the last byte. The fault is a pointer into the buffer that was taken
# before the buffer moved.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

# A buffer has 1 kB at first, and doubles. What the length of an event depends
# on: n bytes more of the model's id, the answer, the error's message or the
# agent's name are so many bytes more of it. (That mock repeats the zeros of
# its status in the message of the error, of which 4,000 bytes are kept.)
my @full = map { 1024 << $_ } 0 .. 4;
my %kinds = (
	RunStarted => q('x', model => 'mock:say=' || repeat('m', n)),
	RunContent => q(repeat('b', n), model => 'mock:plain'),
	RunCompleted => q(repeat('c', n), model => 'mock:plain'),
	RunError => q('x', model => 'mock:status-' || repeat('0', n) || '400'),
	NamedError => q('x', 'agent' || to_char(n, 'FM00000'), model => 'mock:status-400'),
	NamedStart => q('x', 'agent' || to_char(n, 'FM00000'), model => 'mock:plain'),
	RunRetried => q('r' || n, 'agent' || to_char(n, 'FM00000'), model => 'mock:break-1'),
	RunCancelled => q('x', 'agent' || to_char(n, 'FM00000'), model => 'mock:hang'),
	NeverStarted => q('x', 'agent' || to_char(n, 'FM00000'), model => 'mock:hang',
		run_at => now() + '1 h'));
my %events = (
	NamedError => 'RunError',
	NamedStart => 'RunStarted',
	NeverStarted => 'RunCancelled');
my %keys = (
	RunStarted => 'model,model_provider',
	RunContent => 'content,content_type',
	RunCompleted => 'content,content_type,metrics',
	RunError => 'content,error_type',
	RunRetried => 'attempt',
	RunCancelled => 'reason');

# The bytes of an event as it was written, without the spaces of jsonb.
$node->safe_psql('postgres', q(
	CREATE FUNCTION written(data jsonb) RETURNS bigint LANGUAGE sql AS $$
		SELECT octet_length(data::text)
			- (SELECT 2 * count(*) - 1 FROM jsonb_each(data))
			- CASE WHEN data ? 'metrics' THEN
				(SELECT 2 * count(*) - 1 FROM jsonb_each(data->'metrics'))
			ELSE 0 END
	$$));

# Enqueue runs of this kind for each n of a query; its user says which kind.
sub enqueue_lengths
{
	my ($kind, $query) = @_;

	$node->safe_psql('postgres', qq(
		INSERT INTO agno.agents (agent_id, name)
			SELECT 'agent' || to_char(n, 'FM00000'), repeat('n', n) FROM ($query) s (n)
			ON CONFLICT DO NOTHING;
		SELECT count(*) FROM ($query) s (n),
			agno_arun($kinds{$kind}, user_id => '$kind', stream => true)));
}

# Cancel what hangs, once it has started, and wait until all has ended.
sub finish
{
	my $ok = $node->poll_query_until('postgres', q(
		SELECT NOT EXISTS (SELECT FROM agno.runs WHERE finished_at IS NULL AND
			(user_id NOT IN ('RunCancelled', 'NeverStarted')
				OR (status = 'PENDING' AND run_at IS NULL)))));
	$node->psql('postgres',
		'SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL');
	return $ok && $node->poll_query_until('postgres', q(
		SELECT NOT EXISTS (SELECT FROM agno.runs WHERE finished_at IS NULL)
			AND NOT EXISTS (SELECT FROM agno.run_queue)));
}

# First one of each kind, to learn how long the rest of the event is. (All
# agents are of the same length of id, and all runs.)
my %rest;
enqueue_lengths($_, 'SELECT 500') foreach keys %kinds;
finish();
foreach my $kind (keys %kinds)
{
	my $event = $events{$kind} // $kind;
	$rest{$kind} = value("written(data) - 500 FROM agno.run_events
		JOIN agno.runs USING (run_id)
		WHERE user_id = '$kind' AND event = '$event' AND attempt < 2 LIMIT 1");
	cmp_ok($rest{$kind} || 0, '>', 50,
		"$kind: its event takes more than 50 bytes of the buffer");
}

# Run all lengths of an event around those at which its buffer is full.
sub sweep
{
	my ($kind) = @_;
	my $sizes = join ', ', grep { $kind ne 'RunError' || $_ < 8192 } @full;

	enqueue_lengths($kind, "SELECT size + step - $rest{$kind} FROM unnest('{$sizes}'::int[]) size,
		generate_series(-9, 9) step WHERE size + step > $rest{$kind} + 1");
}

# All are enqueued before any of them starts. (But those that are to break in
# the middle have to show something first, for which a crowd of others would
# leave them no time.)
configure(paused => 'on');
$node->poll_query_until('postgres', 'SHOW agno_bg.paused', 'on');
sweep($_) foreach grep { $_ ne 'RunRetried' } keys %kinds;

# The same for what is no event: requests, messages, errors, and metrics. Where
# their buffers are full, nobody but the runner knows, so these are all lengths
# that may be.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(600, 1030) n,
		agno_arun(repeat('p', n), model => 'mock:plain', user_id => 'plain');
	SELECT count(*) FROM generate_series(1600, 2050) n,
		agno_arun(repeat('p', n), model => 'mock:plain', user_id => 'plain');
	SELECT count(*) FROM generate_series(3940, 4100) n,
		agno_arun(repeat('p', n), model => 'mock:plain', user_id => 'plain');
	SELECT count(*) FROM generate_series(880, 1030) n,
		agno_arun('x', model => 'mock:status-' || repeat('0', n) || '400',
			user_id => 'error');
	SELECT count(*) FROM generate_series(1900, 2050) n,
		agno_arun('x', model => 'mock:status-' || repeat('0', n) || '400',
			user_id => 'error')));
configure(paused => 'off');
my $ended = finish();
sweep('RunRetried') if $ended;
$ended &&= finish();
is(logged('was terminated by signal'), 0, 'no process of the server crashes');
ok($ended, 'all runs come to an end');
is(logged('agno_bg runner ERROR'), 0, 'the runner reports no errors');

foreach my $kind (sort keys %kinds)
{
	my $event = $events{$kind} // $kind;
	my $count = $kind eq 'RunError' ? 3 : 5;
	is(value("count(DISTINCT written(data)) FROM agno.run_events
			JOIN agno.runs USING (run_id) WHERE user_id = '$kind'
			AND event = '$event' AND written(data) IN (@{[ join ', ', @full ]})"),
		$count,
		"$kind: events of each length around the buffer's were sent");
}
foreach my $event (sort keys %keys)
{
	is(value("count(*) FROM agno.run_events JOIN agno.runs r USING (run_id)
			WHERE event = '$event' AND NOT coalesce(data->>'event' = event
			AND data->>'run_id' = r.run_id
			AND data->>'session_id' = r.session_id
			AND data->>'agent_name' IS NOT DISTINCT FROM
				repeat('n', substr(agent_id, 6)::int)
			AND data ?& '{created_at,$keys{$event}}', false)"),
		0,
		"$event: each event has its fields");
}
is(value(q(count(*) FROM agno.run_events JOIN agno.runs r USING (run_id)
		WHERE event = 'RunStarted' AND data->>'model' IS DISTINCT FROM model)),
	0, 'each RunStarted has the model');
is(value(q(count(*) FROM agno.run_events JOIN agno.runs r USING (run_id)
		WHERE event = 'RunError'
		AND (data->>'content' IS DISTINCT FROM r.content
			OR r.content IS DISTINCT FROM
				'mock error ' || substr(r.model, length('status-') + 1)))),
	0, 'each RunError has the message');
is(value(q(count(*) FROM agno.run_events JOIN agno.runs r USING (run_id)
		WHERE event = 'RunCompleted' AND (r.content IS DISTINCT FROM data->>'content'
			AND status = 'COMPLETED'))),
	0, 'each RunCompleted has the answer');

# The pieces, of the last attempt where there were two
is(value(q(count(*) FROM agno.runs r LEFT JOIN LATERAL
		(SELECT string_agg(e.data->>'content', '' ORDER BY e.seq) AS told,
				min(e.seq) AS first
			FROM agno.run_events e WHERE e.run_id = r.run_id
			AND e.event = 'RunContent' AND e.seq > coalesce((SELECT max(x.seq)
				FROM agno.run_events x WHERE x.run_id = r.run_id
				AND x.event = 'RunRetried'), 0)) e ON true
		WHERE r.status = 'COMPLETED' AND r.user_id NOT IN ('plain', 'error')
			AND (e.told IS DISTINCT FROM r.content
				OR r.content <> 'You said: ' || r.input))),
	0, 'the pieces of each stream add up to the answer');
is(value(q(string_agg(DISTINCT names, '; ' ORDER BY names) FROM (SELECT
		status || ': ' || string_agg(event, ' ' ORDER BY seq)
			FILTER (WHERE event <> 'RunContent') AS names
		FROM agno.runs JOIN agno.run_events USING (run_id)
		GROUP BY run_id, status) x)),
	'CANCELLED: RunCancelled RunCompleted; '
	  . 'CANCELLED: RunStarted RunCancelled RunCompleted; '
	  . 'COMPLETED: RunStarted RunCompleted; '
	  . 'COMPLETED: RunStarted RunRetried RunCompleted; '
	  . 'ERROR: RunStarted RunError',
	'no run misses an event');

# What is stored of runs that nobody watches
is(value(q(count(*) FROM agno.runs r WHERE status = 'COMPLETED'
		AND (content <> 'You said: ' || input
			OR messages->-2->>'content' IS DISTINCT FROM input
			OR messages->-1->>'content' IS DISTINCT FROM content
			OR (metrics->>'total_tokens')::int IS DISTINCT FROM 18))),
	0, 'requests, messages and metrics of runs are whole');
is(value(q(count(*) FROM agno.runs r WHERE status = 'ERROR'
		AND (error->>'message' IS DISTINCT FROM content
			OR error->>'type' IS DISTINCT FROM 'provider'
			OR error->>'http_status' IS DISTINCT FROM '400'
			OR error->>'attempt' IS DISTINCT FROM '1'))),
	0, 'errors of runs are whole');
is(value(q(count(*) FROM agno.runs WHERE status NOT IN ('CANCELLED') AND attempt <> 1)),
	0, 'each run ends at its first attempt');

$node->stop;
done_testing();
