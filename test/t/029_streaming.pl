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
	is(wait_run($server), 'COMPLETED', "$server: streamed");
	is(value("content FROM agno.runs WHERE run_id = '$server'"),
		$said, "$server: the answer");
	is(value("metrics->'total_tokens' FROM agno.runs WHERE run_id = '$server'"),
		18, "$server: the tokens");
	is(events($server), 'RunStarted RunContent RunCompleted',
		"$server: the events");
	is(value("string_agg(data->>'content', '' ORDER BY seq)
		FROM agno_run_events('$server') WHERE event = 'RunContent'"),
		$said,
		"$server: the pieces are the answer");
	cmp_ok(value("count(*) FROM agno_run_events('$server')
			WHERE event = 'RunContent'"), '>', 1, "$server: in several pieces");
	is(value("min(seq) = 1 AND max(seq) = count(*)
			FROM agno.run_events WHERE run_id = '$server'"),
		't',
		"$server: numbered without gaps");
	my ($request) =
	  grep { $_->{body}{model} eq 'words-40' } reverse mock_requests('mock');
	ok($request->{body}{stream}, "$server: asked for");
}
is(value("count(*) FROM agno_run_events('mock', 2)"),
	value("count(*) - 2 FROM agno.run_events WHERE run_id = 'mock'"),
	'reading on where one left off');

# While it runs.
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN agno_run_event');
start('mute', 'mock:mute');
ok( $node->poll_query_until(
		'postgres',
		"SELECT status = 'RUNNING' AND content = 'You ' FROM agno.runs
		WHERE run_id = 'mute'"),
	'what has arrived is shown');
like($listener->query('SELECT 1'),
	qr/notification "agno_run_event" with payload "mute"/,
	'and listeners know');
$listener->quit;

# Cancelled: what has arrived is kept.
is(value("agno_cancel_run('mute')"), 't', 'cancelled');
is(wait_run('mute'), 'CANCELLED', 'in the middle');
is(value("content FROM agno.runs WHERE run_id = 'mute'"),
	'You ', 'what has arrived is kept');
is(value("jsonb_path_query_array(messages, '\$[*].role') FROM agno.runs
		WHERE run_id = 'mute'"),
	'["user", "assistant"]', 'also in the conversation');
is(events('mute'),
	'RunStarted RunContent RunCancelled RunCompleted', 'as in Agno');
is(value("data->>'reason' FROM agno_run_events('mute')
		WHERE event = 'RunCancelled'"),
	'Run mute was cancelled', 'with the reason');

# Cancelled before the first piece.
start('hang', 'mock:hang');
wait_until('the run to start', sub { events('hang') eq 'RunStarted' });
$node->safe_psql('postgres', "SELECT agno_cancel_run('hang')");
wait_run('hang');
is(events('hang'), 'RunStarted RunCancelled RunCompleted', 'nothing to keep');

# A stream that breaks is repeated, and those who watch are told.
start('break', 'mock:break-1');
is(wait_run('break'), 'COMPLETED', 'a stream that breaks once');
is(events('break'),
	'RunStarted RunContent RunRetried RunContent RunCompleted',
	'starts anew');
start('broken', 'mock:break-9', max_attempts => 1);
is(wait_run('broken'), 'ERROR', 'a stream that always breaks');
is(value("content FROM agno.runs WHERE run_id = 'broken'"),
	'You ', 'what has arrived is kept');
like(events('broken'), qr/RunContent RunError$/, 'RunError');

# A server that does not stream, one that refuses, one that cuts.
start('plain', 'mock:slow-1');
is(wait_run('plain'), 'COMPLETED', 'a server that does not stream');
is(events('plain'), 'RunStarted RunContent RunCompleted', 'the same events');
start('refused', 'mock:status-400');
is(wait_run('refused'), 'ERROR', 'a server that refuses');
is(value("content FROM agno.runs WHERE run_id = 'refused'"),
	'mock error 400', 'with its message');
start('cut', 'chat:length');
is(wait_run('cut'), 'ERROR', 'an answer that is cut by a limit');
is(value("content || ' ' || (error->>'type') FROM agno.runs WHERE run_id = 'cut'"),
	"$said incomplete", 'is incomplete, and kept');

# The agent may ask for it; a schema is checked at the end.
$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, name, model, stream)
	VALUES ('a', 'Streamer', 'mock:echo', true);
	SELECT agno_arun('x', 'a', run_id => 'agent');
	SELECT agno_arun('x', 'a', run_id => 'misfit', output_schema => '{"type": "object"}')));
is(wait_run('agent'), 'COMPLETED', 'by the agent');
is(value("data->>'agent_name' FROM agno_run_events('agent', 1) LIMIT 1"),
	'Streamer', 'whose name the events have');
is(wait_run('misfit'), 'ERROR', 'an answer that does not fit the schema');
like(events('misfit'), qr/RunError$/, 'is an error here, too');

# A crash: the attempt starts afresh, the numbers go on.
start('crash', 'mock:mute');
wait_until('a piece', sub { events('crash') =~ /RunContent/ });
$node->stop('immediate');
$node->start;
wait_until('the next attempt', sub { events('crash') =~ /RunRetried/ });
wait_until('its first piece', sub { events('crash') =~ /RunContent$/ });
is(events('crash'), 'RunStarted RunContent RunRetried RunContent',
	'RunRetried marks the restart');
is(value("max(seq) = count(*) FROM agno.run_events WHERE run_id = 'crash'"),
	't', 'numbers go on without gaps');
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
	'cancelled before its start');
is(events('later'), 'RunCancelled RunCompleted', 'is an end like others');

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
	'a second letter');
is(events('twice'), 'RunCancelled RunCompleted', 'is no second end');
start('back', 'mock:mute');
wait_until('a piece', sub { events('back') =~ /RunContent/ });
$node->safe_psql('postgres', 'ALTER SYSTEM SET agno_bg.paused = on');
$node->restart;
is(run_status('back'), 'PENDING', 'put back by a restart');
$node->safe_psql('postgres', "SELECT agno_cancel_run('back')");
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 4 FROM agno_run_events('back')"),
	'and cancelled then');
is(events('back'), 'RunStarted RunContent RunCancelled RunCompleted',
	'its events come to an end');
configure(paused => 'off');
$node->safe_psql('postgres', q(
	SELECT agno_arun('x', model => 'mock:mute', stream => true, run_id => 'unlucky',
		max_attempts => 1)));
wait_until('a piece', sub { events('unlucky') =~ /RunContent/ });
$node->stop('immediate');
$node->start;
wait_run('unlucky');
is(events('unlucky'), 'RunStarted RunContent RunError',
	'so do those of one that is given up');

# Strangers see nothing.
make_user('stranger');
is(as('stranger', "SELECT count(*) FROM agno_run_events('mock')"),
	'0', 'events of others are hidden');

# Many at once.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 200) i,
		agno_arun('crowd ' || i, model => 'mock:words-20', stream => true)));
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 200 FROM agno.runs
			WHERE input LIKE 'crowd%' AND status = 'COMPLETED'"),
	'two hundred streams');
is(value("count(*) FROM (SELECT string_agg(e.data->>'content', '' ORDER BY seq)
			FILTER (WHERE event = 'RunContent') AS told, min(r.content) AS content,
			max(seq) = count(*) AS whole
		FROM agno.runs r JOIN agno.run_events e USING (run_id)
		WHERE input LIKE 'crowd%' GROUP BY run_id) x
		WHERE told = content AND whole"),
	200, 'each told whole');

done_testing();
