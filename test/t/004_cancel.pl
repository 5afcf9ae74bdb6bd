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
is(cancel('waits'), 'f', 'a run that was cancelled cannot be cancelled again');
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 0 FROM agno.run_queue"),
	'a run that was cancelled leaves the queue');

# A run in flight: the connection is closed at the server.
enqueue('flies', 'hang');
wait_for_request('flies');
is(cancel('flies'), 't', 'a run in flight can be cancelled');
is(wait_run('flies'), 'CANCELLED',
	'a run in flight that is cancelled ends CANCELLED');
expect_run(
	'flies',
	{
		content => 'Run flies was cancelled',
		"messages->0->>'content'" => 'flies',
		'jsonb_array_length(messages)' => 1,
		error => undef,
		"metrics ? 'duration'" => 'true'
	},
	'what was sent is kept when a run in flight is cancelled');
wait_until('the connection to close',
	sub { grep { $_->{event} eq 'closed' } mock_log('mock') });
pass('the connection is closed at the server');
is(cancel('flies'), 'f',
	'a run that was cancelled in flight cannot be cancelled again');

# Twice in one transaction, both are true.
enqueue('twice', 'hang');
wait_for_request('twice');
is( $node->safe_psql(
		'postgres',
		"BEGIN; SELECT agno_cancel_run('twice'), agno_cancel_run('twice'); COMMIT"
	),
	't|t',
	'two cancels in one transaction are both true');
is(wait_run('twice'), 'CANCELLED',
	'a run that was cancelled twice ends CANCELLED');

# Before the start: a marker waits for the run.
is(cancel('early'), 'f', 'an unknown run cannot be cancelled now');
is(value('run_id FROM agno.cancellations'),
	'early', 'the cancel of an unknown run leaves a marker');
is(value("status FROM agno_arun('early', model => 'mock:echo', run_id => 'early')"),
	'PENDING',
	'a run with a marker is accepted');
is(wait_run('early'), 'CANCELLED', 'a run with a marker ends CANCELLED');
is(value('count(*) FROM agno.cancellations'),
	0, 'the marker is removed with its work done');
is(scalar(mock_requests('mock', 'early')), 0,
	'no request is sent for a run with a marker');
is(value("content, messages IS NULL, attempt
		FROM agno_get_run_output('early')"),
	'Run early was cancelled|t|0',
	'a run with a marker is never started');

# The marker that a transaction leaves while the run is being enqueued by
# another one is found when the run is about to start, or has started.
my $enqueuer = $node->background_psql('postgres');
$enqueuer->query_safe('BEGIN');
$enqueuer->query_safe(
	"SELECT agno_arun('overlap', model => 'mock:hang', run_id => 'overlap')");
is(cancel('overlap'), 'f', 'a run that is not visible yet is unknown');
$enqueuer->query_safe('COMMIT');
$enqueuer->quit;
is(wait_run('overlap'), 'CANCELLED',
	'the marker of a run that was not visible is honoured');
is(scalar(mock_requests('mock', 'overlap')), 0,
	'no request is sent for a run whose marker came first');

# A run that has ended.
enqueue('done', 'echo');
is(wait_run('done'), 'COMPLETED', 'a run without a marker completes');
is(cancel('done'), 'f', 'a run that has ended cannot be cancelled');
is(run_status('done'), 'COMPLETED', 'a run that has ended stays as it is');
is(value("count(*) FROM agno.cancellations"),
	0,
	'the cancel of a run that has ended leaves no marker');

# Markers that meet no run are removed after a day.
$node->safe_psql('postgres',
	"SELECT agno_cancel_run('old');"
	  . "UPDATE agno.cancellations SET requested_at = now() - interval '25 hours';"
	  . "SELECT agno_cancel_run('young')");
$node->restart;
ok( $node->poll_query_until('postgres',
		"SELECT string_agg(run_id, ' ') FROM agno.cancellations", 'young'),
	'old markers are removed, and young ones stay');

$node->stop;
done_testing();
