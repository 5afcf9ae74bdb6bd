# Cancel in its forms: of a run that waits, of one in flight, of one that does
# not exist yet, and of one that has ended.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

sub cancel
{
	my ($run_id) = @_;
	return value("agno_cancel_run('$run_id')");
}

# A run that waits is CANCELLED by the very commit of the cancel.
$node->safe_psql('postgres',
	"SELECT agno_arun('waits', model => 'mock:echo', run_id => 'waits', "
	  . "run_at => now() + interval '1 hour')");
is( $node->safe_psql(
		'postgres', "SELECT agno_cancel_run('waits');
		SELECT status, content, finished_at IS NOT NULL
		FROM agno_get_run_output('waits')"),
	"t\nCANCELLED|Run waits was cancelled|t",
	'a run that waits is cancelled at once');
is(cancel('waits'), 'f', 'and cannot be cancelled again');
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 0 FROM agno.run_queue"),
	'it leaves the queue');

# A run in flight: the connection is closed at the server.
enqueue('flies', 'hang');
wait_for_request('flies');
is(cancel('flies'), 't', 'a run in flight can be cancelled');
is(wait_run('flies'), 'CANCELLED', 'it ends CANCELLED');
is(value("content, messages->0->>'content',
		jsonb_array_length(messages), error IS NULL, metrics ? 'duration'
		FROM agno_get_run_output('flies')"),
	'Run flies was cancelled|flies|1|t|t',
	'what was sent is kept');
wait_until('the connection to close',
	sub { grep { $_->{event} eq 'closed' } mock_log('mock') });
pass('the connection is closed at the server');
is(cancel('flies'), 'f', 'it cannot be cancelled again');

# Twice in one transaction, both are true.
enqueue('twice', 'hang');
wait_for_request('twice');
is( $node->safe_psql(
		'postgres',
		"BEGIN; SELECT agno_cancel_run('twice'), agno_cancel_run('twice'); COMMIT"
	),
	't|t',
	'a cancel is idempotent');
is(wait_run('twice'), 'CANCELLED', 'and takes effect once');

# Before the start: a marker waits for the run.
is(cancel('early'), 'f', 'an unknown run cannot be cancelled now');
is(value('run_id FROM agno.cancellations'),
	'early', 'but a marker is kept');
is(value("status FROM agno_arun('early', model => 'mock:echo', run_id => 'early')"),
	'PENDING',
	'the run is accepted');
is(wait_run('early'), 'CANCELLED', 'and ends CANCELLED at once');
is(value('count(*) FROM agno.cancellations'),
	0, 'the marker has done its work');
is(scalar(mock_requests('mock', 'early')), 0, 'no request was sent');
is(value("content, messages IS NULL, attempt
		FROM agno_get_run_output('early')"),
	'Run early was cancelled|t|0',
	'the run was never started');

# The marker that a transaction leaves while the run is being enqueued by
# another one is found when the run is about to start, or has started.
my $enqueuer = $node->background_psql('postgres');
$enqueuer->query_safe('BEGIN');
$enqueuer->query_safe(
	"SELECT agno_arun('overlap', model => 'mock:hang', run_id => 'overlap')");
is(cancel('overlap'), 'f', 'a run that is not visible yet is unknown');
$enqueuer->query_safe('COMMIT');
$enqueuer->quit;
is(wait_run('overlap'), 'CANCELLED', 'its marker is honoured');
is(scalar(mock_requests('mock', 'overlap')), 0, 'no request was sent');

# A run that has ended.
enqueue('done', 'echo');
is(wait_run('done'), 'COMPLETED', 'a run that has ended');
is(cancel('done'), 'f', 'cannot be cancelled');
is(run_status('done'), 'COMPLETED', 'and stays as it is');
is(value("count(*) FROM agno.cancellations"),
	0,
	'without leaving a marker');

# Markers that meet no run are removed after a day.
$node->safe_psql('postgres',
	"SELECT agno_cancel_run('old');"
	  . "UPDATE agno.cancellations SET requested_at = now() - interval '25 hours';"
	  . "SELECT agno_cancel_run('young')");
$node->restart;
ok( $node->poll_query_until('postgres',
		"SELECT string_agg(run_id, ' ') FROM agno.cancellations", 'young'),
	'old markers are removed');

$node->stop;
done_testing();
