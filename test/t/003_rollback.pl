# A rollback leaves no trace: no row, no session, no request. The same holds
# for a savepoint, while the rest of its transaction goes ahead.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

$node->safe_psql(
	'postgres', "
	BEGIN;
	SELECT agno_arun('rolled back', model => 'mock:echo', run_id => 'a');
	ROLLBACK;
	BEGIN;
	SELECT agno_arun('kept', model => 'mock:echo', run_id => 'b');
	SAVEPOINT s;
	SELECT agno_arun('savepoint', model => 'mock:echo', run_id => 'c');
	ROLLBACK TO s;
	COMMIT;
	BEGIN;
	SAVEPOINT s;
	SELECT agno_arun('released', model => 'mock:echo', run_id => 'd');
	RELEASE s;
	COMMIT;");
is(wait_run('b'), 'COMPLETED', 'a run that was committed is executed');
is(wait_run('d'), 'COMPLETED',
	'a run of a savepoint that was released is executed');
is(value("string_agg(run_id, ' ' ORDER BY run_id) FROM agno.runs"),
	'b d', 'runs that were rolled back leave no rows');
is(value('count(*) FROM agno.sessions'),
	2, 'runs that were rolled back leave no sessions');
is(value('count(*) FROM agno.run_queue'),
	0, 'runs that were rolled back leave nothing in the queue');
is(join(' ', sort map { $_->{body}{input}[-1]{content} } mock_requests('mock')),
	'kept released', 'runs that were rolled back are not sent');

# A cancel that is rolled back has not happened either.
enqueue('e', 'slow-1000', input => 'x');
wait_for_request('x');
$node->safe_psql('postgres',
	"BEGIN; SELECT agno_cancel_run('e'); SELECT agno_cancel_run('f'); ROLLBACK"
);
is(wait_run('e'), 'COMPLETED', 'a run completes whose cancel was rolled back');
is(value('count(*) FROM agno.cancellations'),
	0, 'a cancel that is rolled back leaves no marker');
$node->stop;
done_testing();
