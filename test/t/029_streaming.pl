# Streamed runs: the answer grows while it arrives, and events tell of it,
# numbered without gaps. The faults: a stream that breaks, a cancel and a crash
# in the middle, a stream without its end, a server that does not stream.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
$node->safe_psql('postgres', qq(
	CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-chat', base_url '$url');
	CREATE SERVER claude FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'anthropic', base_url '$url')));

sub start
{
	my ($id, $model, %arguments) = @_;
	enqueue($id, $model, input => 'one two three', stream => 'true', %arguments);
}

# The names of the events, with pieces of the answer as one.
sub events
{
	my ($id) = @_;
	my $names = value("string_agg(event, ' ' ORDER BY seq) FROM agno_run_events('$id')");
	$names =~ s/(RunContent )+/RunContent /g;
	return $names;
}

my $said = 'You said: one two three';

foreach my $server (qw(mock chat claude))
{
	start($server, "$server:words-40");
	is(wait_run($server), 'COMPLETED', "$server: a streamed run completes");
	is(value("content FROM agno.runs WHERE run_id = '$server'"),
		$said, "$server: the answer of a streamed run is stored");
	is(value("metrics->'total_tokens' FROM agno.runs WHERE run_id = '$server'"),
		18, "$server: the tokens of a streamed run are counted");
	is(events($server), 'RunStarted RunContent RunCompleted',
		"$server: a streamed run has the usual events");
	is(value("string_agg(data->>'content', '' ORDER BY seq)
		FROM agno_run_events('$server') WHERE event = 'RunContent'"),
		$said,
		"$server: the pieces are the answer");
	cmp_ok(value("count(*) FROM agno_run_events('$server')
			WHERE event = 'RunContent'"), '>', 1,
		"$server: the answer arrives in several pieces");
	is(value("min(seq) = 1 AND max(seq) = count(*)
			FROM agno.run_events WHERE run_id = '$server'"),
		't',
		"$server: the events are numbered without gaps");
	my ($request) =
	  grep { $_->{body}{model} eq 'words-40' } reverse mock_requests('mock');
	ok($request->{body}{stream}, "$server: the request asks for a stream");
}
is(value("count(*) FROM agno_run_events('mock', 2)"),
	value("count(*) - 2 FROM agno.run_events WHERE run_id = 'mock'"),
	'events are read on from where one left off');

# While it runs.
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN agno_run_event');
start('mute', 'mock:mute');
ok( $node->poll_query_until(
		'postgres',
		"SELECT status = 'RUNNING' AND content = 'You ' FROM agno.runs
		WHERE run_id = 'mute'"),
	'what has arrived is shown while the run goes on');
like($listener->query('SELECT 1'),
	qr/notification "agno_run_event" with payload "mute"/,
	'listeners hear of the events of a run');
$listener->quit;

# Cancelled: what has arrived is kept.
is(value("agno_cancel_run('mute')"), 't',
	'a streamed run is cancelled halfway');
is(wait_run('mute'), 'CANCELLED',
	'a run that is cancelled halfway ends CANCELLED');
is(value("content FROM agno.runs WHERE run_id = 'mute'"),
	'You ', 'the half of the answer that had arrived is kept');
is(value("jsonb_path_query_array(messages, '\$[*].role') FROM agno.runs
		WHERE run_id = 'mute'"),
	'["user", "assistant"]', 'the half of the answer is in the messages, too');
is(events('mute'),
	'RunStarted RunContent RunCancelled RunCompleted',
	'a run that is cancelled halfway has the events that Agno has');
is(value("data->>'reason' FROM agno_run_events('mute')
		WHERE event = 'RunCancelled'"),
	'Run mute was cancelled', 'RunCancelled tells the reason');

# Cancelled before the first piece.
start('hang', 'mock:hang');
wait_until('the run to start', sub { events('hang') eq 'RunStarted' });
$node->safe_psql('postgres', "SELECT agno_cancel_run('hang')");
wait_run('hang');
is(events('hang'), 'RunStarted RunCancelled RunCompleted',
	'a run that is cancelled before the first piece has no content event');

# A stream that breaks is repeated, and those who watch are told.
start('break', 'mock:break-1');
is(wait_run('break'), 'COMPLETED', 'a run whose stream breaks once completes');
is(events('break'),
	'RunStarted RunContent RunRetried RunContent RunCompleted',
	'a stream that breaks is started anew, and an event tells of it');
start('broken', 'mock:break-9', max_attempts => 1);
is(wait_run('broken'), 'ERROR',
	'a run whose stream always breaks ends in ERROR');
is(value("content FROM agno.runs WHERE run_id = 'broken'"),
	'You ', 'what arrived of a stream that always breaks is kept');
like(events('broken'), qr/RunContent RunError$/,
	'the events of a stream that always breaks end with RunError');

# A server that does not stream, one that refuses, one that cuts.
start('plain', 'mock:slow-1');
is(wait_run('plain'), 'COMPLETED',
	'a streamed run of a server that does not stream completes');
is(events('plain'), 'RunStarted RunContent RunCompleted',
	'a server that does not stream leads to the same events');
start('refused', 'mock:status-400');
is(wait_run('refused'), 'ERROR',
	'a streamed run that the server refuses ends in ERROR');
is(value("content FROM agno.runs WHERE run_id = 'refused'"),
	'mock error 400',
	'a streamed run that is refused has the message of the server');
start('cut', 'chat:length');
is(wait_run('cut'), 'ERROR',
	'a streamed answer that is cut by a limit ends in ERROR');
is(value("content || ' ' || (error->>'type') FROM agno.runs WHERE run_id = 'cut'"),
	"$said incomplete",
	'an answer that is cut by a limit is incomplete, and kept');

# The agent may ask for it; a schema is checked at the end.
$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, name, model, stream)
	VALUES ('a', 'Streamer', 'mock:echo', true);
	SELECT agno_arun('x', 'a', run_id => 'agent');
	SELECT agno_arun('x', 'a', run_id => 'misfit', output_schema => '{"type": "object"}')));
is(wait_run('agent'), 'COMPLETED',
	'a run completes that is streamed since its agent says so');
is(value("data->>'agent_name' FROM agno_run_events('agent', 1) LIMIT 1"),
	'Streamer', 'the events have the name of the agent');
is(wait_run('misfit'), 'ERROR',
	'a streamed answer that does not fit the schema ends in ERROR');
like(events('misfit'), qr/RunError$/,
	'the events end with RunError when the answer does not fit');

# A crash: the attempt starts afresh, the numbers go on.
start('crash', 'mock:mute');
wait_until('a piece', sub { events('crash') =~ /RunContent/ });
$node->stop('immediate');
$node->start;
wait_until('the next attempt', sub { events('crash') =~ /RunRetried/ });
wait_until('its first piece', sub { events('crash') =~ /RunContent$/ });
is(events('crash'), 'RunStarted RunContent RunRetried RunContent',
	'a run that was streamed halfway is started anew after a crash');
is(value("max(seq) = count(*) FROM agno.run_events WHERE run_id = 'crash'"),
	't', 'the numbers of events go on without gaps after a crash');
$node->safe_psql('postgres', "SELECT agno_cancel_run('crash')");
wait_run('crash');

# A run that ends while it waits: those who watch are told.
$node->safe_psql('postgres', q(
	SELECT agno_arun('x', model => 'mock:mute', stream => true, run_id => 'later',
		run_at => now() + '1 h');
	SELECT agno_cancel_run('later')));
wait_run('later');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 2 FROM agno_run_events('later')"),
	'a run that is cancelled before its start has events');
is(events('later'), 'RunCancelled RunCompleted',
	'a run that is cancelled before its start has no other events');

# Two letters about one run, of which the second is read when it has ended.
$node->safe_psql('postgres', q(
	SELECT agno_arun('x', model => 'mock:mute', stream => true, run_id => 'twice',
		run_at => now() + '1 h');
	SELECT agno_cancel_run('twice')));
wait_run('twice');
$node->safe_psql('postgres', q(
	INSERT INTO agno.run_signals (run_id, owner, shard)
		VALUES ('twice', current_user::regrole, 0);
	SELECT agno.request_runner()));
ok( $node->poll_query_until('postgres',
		'SELECT NOT EXISTS (SELECT FROM agno.run_signals)'),
	'a second letter about a run is read');
is(events('twice'), 'RunCancelled RunCompleted',
	'a second letter about a run adds no event');
start('back', 'mock:mute');
wait_until('a piece', sub { events('back') =~ /RunContent/ });
$node->safe_psql('postgres', 'ALTER SYSTEM SET agno_bg.paused = on');
$node->restart;
is(run_status('back'), 'PENDING', 'a restart puts a streamed run back');
$node->safe_psql('postgres', "SELECT agno_cancel_run('back')");
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 4 FROM agno_run_events('back')"),
	'a run that was put back has events when it is cancelled');
is(events('back'), 'RunStarted RunContent RunCancelled RunCompleted',
	'the events of a run that was put back come to an end');
configure(paused => 'off');
$node->safe_psql('postgres', q(
	SELECT agno_arun('x', model => 'mock:mute', stream => true, run_id => 'unlucky',
		max_attempts => 1)));
wait_until('a piece', sub { events('unlucky') =~ /RunContent/ });
$node->stop('immediate');
$node->start;
wait_run('unlucky');
is(events('unlucky'), 'RunStarted RunContent RunError',
	'the events of a run that is given up end with RunError');

# Strangers see nothing.
make_user('stranger');
# Of a run that was not streamed, start, content and end are told once it has ended.
$node->safe_psql('postgres', q(CALL agno_run('Hello', run_id => 'whole', model => 'mock:echo');
	CALL agno_run('Hello', run_id => 'bad', model => 'mock:status-400');
	SELECT agno_arun('Hello', run_id => 'hanging', model => 'mock:hang')));
is(value(q(string_agg(seq || ' ' || event || ' ' || coalesce(data ->> 'content', ''), ', ' ORDER BY seq) FROM agno_run_events('whole'))),
	'1 RunStarted , 2 RunContent You said: Hello, 3 RunCompleted You said: Hello', 'a run that was not streamed is told in the end');
is(value(q(string_agg(event, ' ' ORDER BY seq) FROM agno_run_events('whole', 2))), 'RunCompleted', 'from a number on');
is(value(q(string_agg(event || ' ' || coalesce(data ->> 'error_type', ''), ', ' ORDER BY seq) FROM agno_run_events('bad'))),
	'RunStarted , RunError provider', 'also if it ends badly');
is(value(q(count(*) FROM agno_run_events('hanging'))), 0, 'but not before');
value(q(agno_cancel_run('hanging')));
wait_run('hanging');
is(value(q(string_agg(event, ' ' ORDER BY seq) FROM agno_run_events('hanging'))), 'RunStarted RunCancelled RunCompleted', 'nor without a cancel');

is(as('stranger', "SELECT count(*) FROM agno_run_events('mock')"),
	'0', 'events of other roles are hidden');

# Many at once.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 200) i,
		agno_arun('crowd ' || i, model => 'mock:words-20', stream => true)));
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 200 FROM agno.runs
			WHERE input LIKE 'crowd%' AND status = 'COMPLETED'"),
	'two hundred streamed runs complete');
is(value("count(*) FROM (SELECT string_agg(e.data->>'content', '' ORDER BY seq)
			FILTER (WHERE event = 'RunContent') AS told, min(r.content) AS content,
			max(seq) = count(*) AS whole
		FROM agno.runs r JOIN agno.run_events e USING (run_id)
		WHERE input LIKE 'crowd%' GROUP BY run_id) x
		WHERE told = content AND whole"),
	200, 'each of two hundred streams is told whole');

done_testing();
