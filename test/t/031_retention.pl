# agno_bg.retention: runs that ended long ago are deleted in small steps, with
# their events and sessions; those that have not ended, or are PAUSED, stay.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 1200) i,
		agno_arun('x' || i, model => 'mock:echo', timeout => '1 min');
	SELECT agno_arun('s', model => 'mock:echo', stream => true, run_id => 'streamed');
	SELECT agno_arun('k', model => 'mock:echo', session_id => 'kept', run_id => 'old');
	SELECT agno_arun('later', model => 'mock:echo', session_id => 'kept',
		run_at => '2100-01-01', run_id => 'later');
	SELECT agno_arun('hang', model => 'mock:hang', run_id => 'hang')));
$node->poll_query_until('postgres',
	"SELECT count(*) = 1202 FROM agno.runs WHERE status = 'COMPLETED'");
$node->safe_psql('postgres', q(
	INSERT INTO agno.runs (run_id, session_id, status, input, model,
		model_provider, owner, priority, created_at, finished_at)
	SELECT 'paused', 'p', 'PAUSED', 'x', 'm', 'mock', owner, 0,
		now() - interval '1 year', now() - interval '1 year'
	FROM agno.runs LIMIT 1));

configure(retention => '1s');
ok( $node->poll_query_until('postgres', 'SELECT count(*) = 3 FROM agno.runs'),
	'old runs are deleted');
is(value("string_agg(run_id, ' ' ORDER BY run_id) FROM agno.runs"),
	'hang later paused', 'runs that have not ended stay');
is( $node->safe_psql('postgres',
		'SELECT (SELECT count(*) FROM agno.run_events),
		(SELECT count(*) FROM agno.run_requests),
		(SELECT string_agg(session_id, \' \') FROM agno.sessions
			WHERE session_id !~ \'-\')'),
	'0|0|kept', 'only a session that still has runs is left');

done_testing();
