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
is(wait_run('b'), 'COMPLETED', 'what was committed runs');
is(wait_run('d'), 'COMPLETED', 'so does what a savepoint released');
is(value("string_agg(run_id, ' ' ORDER BY run_id) FROM agno.runs"),
	'b d', 'there are no other runs');
is(value('count(*) FROM agno.sessions'),
	2, 'nor sessions');
is(value('count(*) FROM agno.run_queue'),
	0, 'nor anything in the queue');
is(join(' ', sort map { $_->{body}{input}[-1]{content} } mock_requests('mock')),
	'kept released', 'nor requests');

# A cancel that is rolled back has not happened either.
enqueue('e', 'slow-1000', input => 'x');
wait_for_request('x');
$node->safe_psql('postgres',
	"BEGIN; SELECT agno_cancel_run('e'); SELECT agno_cancel_run('f'); ROLLBACK"
);
is(wait_run('e'), 'COMPLETED', 'a cancel that is rolled back');
is(value('count(*) FROM agno.cancellations'),
	0, 'leaves no marker');
$node->stop;
done_testing();
