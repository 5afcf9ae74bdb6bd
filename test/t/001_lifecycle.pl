# A run goes from PENDING over RUNNING to COMPLETED, its row is filled
# completely, its session exists, and listeners hear of its end.

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

is( $node->safe_psql(
		'postgres',
		"SELECT run_id, session_id, status FROM agno_arun('Wait a bit', "
		  . "model => 'mock:slow-1500', run_id => 'a', session_id => 's', "
		  . "user_id => 'u', metadata => '{\"k\": 1}', priority => 3)"),
	'a|s|PENDING',
	'agno_arun returns at once, with the run PENDING');
ok($node->poll_query_until('postgres',
		"SELECT status = 'RUNNING' AND started_at IS NOT NULL "
		  . "FROM agno_get_run_output('a')"),
	'the run becomes RUNNING, with the time of its start');
is(wait_run('a'), 'COMPLETED', 'the run completes');

expect_run(
	'a',
	{
		status => 'COMPLETED',
		input => 'Wait a bit',
		content => 'You said: Wait a bit',
		content_type => 'str',
		model => 'slow-1500',
		model_provider => 'mock',
		user_id => 'u',
		metadata => '{"k": 1}',
		priority => 3,
		attempt => 1,
		owner => value('current_user'),
		error => undef,
		'created_at <= started_at' => 'true',
		'started_at < finished_at' => 'true'
	},
	'the row of a run that has completed is filled');
is(value("metrics - 'duration' - 'time_to_first_token',
		(metrics->>'duration')::float BETWEEN 1.4 AND 60,
		(metrics->>'time_to_first_token')::float BETWEEN 1.4 AND 60
		FROM agno.runs WHERE run_id = 'a'"),
	'{"input_tokens": 11, "total_tokens": 18, "output_tokens": 7, '
	  . '"reasoning_tokens": 3, "cache_read_tokens": 2}|t|t',
	'metrics tell tokens and times');
is(value("string_agg(m->>'role' || ': ' || (m->>'content'),
			', ' ORDER BY n), bool_and(m ? 'id' AND m ? 'created_at'
			AND m->'from_history' = 'false'),
			bool_or(m->'provider_data'->>'response_id' LIKE 'resp_%')
		FROM agno.runs, jsonb_array_elements(messages)
			WITH ORDINALITY AS e (m, n) WHERE run_id = 'a'"),
	'user: Wait a bit, assistant: You said: Wait a bit|t|t',
	'messages are in the shape of Agno');
is(value("session_id, user_id, metadata, updated_at >
		created_at + '1 s' FROM agno.sessions"),
	's|u|{"k": 1}|t',
	'the session is there, and was updated at the end of the run');

my ($request) = mock_requests('mock', 'Wait a bit');
is_deeply(
	$request->{body},
	{
		model => 'slow-1500',
		input => [ { role => 'user', content => 'Wait a bit' } ]
	},
	'the request is minimal');
is($request->{path}, '/v1/responses',
	'the request goes to the path of the API');
is($request->{headers}{authorization}, 'Bearer sk-mock',
	'the request has the key');
like($request->{headers}{'user-agent'}, qr/^agno_bg\//,
	'the request says who we are');

# The reasoning is kept; model_options reach the body.
enqueue('b', 'reasoning', input => '?');
wait_run('b');
is(value("content, reasoning_content FROM agno_get_run_output('b')"),
	"42|First I think.\n\nThen I answer.",
	'the reasoning is kept');
$node->safe_psql('postgres',
	"SELECT agno_arun('opt', model => 'mock:options', run_id => 'c', "
	  . "model_options => '{\"temperature\": 0.25, \"seed\": 9007199254740993, \"text\": {\"verbosity\": \"low\"}}')"
);
wait_run('c');
like(value("content FROM agno_get_run_output('c')"),
	qr/"seed": ?9007199254740993.*"temperature": ?0\.25/,
	'options reach the server, large numbers unharmed');

# LISTEN
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN agno_run');
enqueue('heard', 'echo', input => 'x');
wait_run('heard');
my $heard = '';
wait_until('the notification',
	sub { $heard .= $listener->query('SELECT 1'); $heard =~ /agno_run/ });
like($heard, qr/"agno_run" with payload "heard"/,
	'listeners hear of the end of a run');
$listener->quit;

# CALL agno_run enqueues, commits, waits and shows the answer, and holds no
# snapshot while it waits.
my $caller = $node->background_psql('postgres');
$caller->query_until(qr/started/,
	"\\echo started\nCALL agno_run('Called', model => 'mock:slow-2000', run_id => 'called');\n"
);
$node->poll_query_until('postgres',
	"SELECT status = 'RUNNING' FROM agno_get_run_output('called')");
is(value("backend_xmin IS NULL, backend_xid IS NULL
		FROM pg_stat_activity WHERE query LIKE 'CALL agno_run%'"),
	't|t',
	'the caller holds no snapshot');
is( $caller->query('SELECT 1'),
	"called|COMPLETED|You said: Called\n1",
	'CALL agno_run shows the answer');
$caller->quit;

$node->stop;
done_testing();
