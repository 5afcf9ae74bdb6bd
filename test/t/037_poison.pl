# A run that brings its worker down, and with it everything else that is in
# flight, ends in ERROR after max_attempts; the runs that were only near it
# complete, and it does not count as an attempt of theirs. The crash comes from
# a library that is loaded before libcurl: faults/poison.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', fault => 'poison', conf => 'agno_bg.max_attempts = 3');
add_mock_server(start_mock('mock'));

$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('near ' || i, model => 'mock:slow-3000');
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('behind ' || i, model => 'mock:echo',
			session_id => 'conversation');
	SELECT agno_arun('poison', model => 'mock:echo', run_id => 'poison',
		run_at => now() + '1 s')));
ok( wait_through_crashes($node,
		q(SELECT status = 'ERROR' FROM agno_get_run_output('poison'))),
	'the run that crashes its worker ends in ERROR');
is( $node->safe_psql('postgres',
		q(SELECT attempt, error->>'type', content LIKE '%crash%'
			FROM agno_get_run_output('poison'))),
	'3|interrupted|t',
	'the run that crashes its worker has had all its attempts');
ok( wait_through_crashes($node,
		q(SELECT count(*) = 40 FROM agno.runs
			WHERE status = 'COMPLETED' AND attempt = 1)),
	'all other runs complete, and no attempt is counted for the crash');
is(logged(qr/was terminated by signal 6/), 3, 'the worker crashed each time');

# Two that crash it by turns do not keep each other alive.
$node->safe_psql('postgres', q(
	SELECT agno_arun('poison one', model => 'mock:echo', run_id => 'one',
		run_at => now() + '1 s'), agno_arun('poison two', model => 'mock:echo',
		run_id => 'two', run_at => now() + '1 s'), agno_arun('after them',
		model => 'mock:echo', run_id => 'three', run_at => now() + '1 s')));
ok( wait_through_crashes($node, q(SELECT array_agg(status ORDER BY run_id)
		= '{ERROR,COMPLETED,ERROR}' FROM agno.runs
		WHERE run_id IN ('one', 'two', 'three'))),
	'two runs that crash their worker by turns both end in ERROR');

$node->stop;
is(() = glob($node->data_dir . '/pg_stat_tmp/agno_bg*'),
	0, 'a worker that ends as it should leaves no trace');
done_testing();
