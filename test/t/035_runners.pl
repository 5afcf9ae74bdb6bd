# Several runners for a database (agno_bg.runners): they share the work, no run
# is executed twice, sessions keep their order, cancels and limits of model
# servers hold across them, and a runner that dies costs no run.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.runners = 3');
my $url = start_mock('mock');
add_mock_server($url);

ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 3 FROM agno.workers WHERE state = 'running'"),
	'there are three runners');

# 600 runs, 300 of them in 30 sessions.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 300) i,
		agno_arun('many ' || i, model => 'mock:slow-20');
	SELECT count(*) FROM generate_series(1, 300) i,
		agno_arun('many ' || 300 + i, model => 'mock:slow-2',
			session_id => 'session ' || i % 30)));
ok(completed('many %', 600), 'all runs of three runners complete');
is(scalar(mock_requests('mock')), 600, 'three runners send each request once');
is(value('count(*) FROM agno.workers WHERE claimed > 50'),
	3, 'all three runners take part');
is(value(q(count(*) FROM (SELECT started_at,
			lag(finished_at) OVER w AS before FROM agno.runs
			WHERE session_id LIKE 'session %'
			WINDOW w AS (PARTITION BY session_id ORDER BY created_at)) r
		WHERE started_at < before)),
	0, 'sessions keep their order with three runners');

# Cancels find the runner: of runs in flight, of runs that wait, and of runs
# that do not exist yet.
$node->safe_psql('postgres', q(
	SELECT agno_cancel_run('early' || i) FROM generate_series(1, 9) i;
	SELECT count(*) FROM generate_series(1, 30) i,
		agno_arun('stays', model => 'mock:hang', run_id => 'hang' || i);
	SELECT count(*) FROM generate_series(1, 9) i,
		agno_arun('never', model => 'mock:echo', run_id => 'early' || i);
	SELECT count(*) FROM generate_series(1, 9) i, agno_arun('waits',
		model => 'mock:echo', run_id => 'late' || i, run_at => now() + '1 h')));
wait_until('the requests', sub { mock_requests('mock', 'stays') == 30 });
is(value(q(bool_and(agno_cancel_run(run_id)) FROM agno.runs
		WHERE run_id ~ '^(hang|late)')),
	't', 'runs that wait, fly or are for later can all be cancelled');
ok( $node->poll_query_until('postgres', q(SELECT count(*) = 48 FROM agno.runs
		WHERE status = 'CANCELLED' AND run_id ~ '^(hang|late|early)'
		AND NOT EXISTS (SELECT FROM agno.run_queue)
		AND NOT EXISTS (SELECT FROM agno.run_signals)
		AND NOT EXISTS (SELECT FROM agno.cancellations))),
	'runs that were cancelled leave nothing behind');
is(scalar(mock_requests('mock', 'never')), 0,
	'runs whose cancel came before them are not sent');

# The limit of a server is for all runners together.
$node->safe_psql('postgres', qq(
	CREATE SERVER narrow FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url', max_concurrency '1');
	SELECT count(*) FROM generate_series(1, 90) i,
		agno_arun('narrow ' || i, model => 'narrow:slow-10')));
ok(completed('narrow %', 90),
	'runs complete under max_concurrency with three runners');
my ($now, $most) = (0, 0);
my %narrow = map { $_->{number} => 1 }
  grep { $_->{body}{input}[-1]{content} =~ /^narrow/ } mock_requests('mock');
foreach my $entry (grep { $narrow{ $_->{number} } } mock_log('mock'))
{
	$now += $entry->{event} eq 'request' ? 1 : -1;
	$most = $now if $now > $most;
}
is($most, 1, 'max_concurrency holds over three runners');
# A runner that ends comes back, and goes on with what it had in flight.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 60) i,
		agno_arun('survives', model => 'mock:slow-1500',
			run_id => 'survives' || i)));
wait_until('the requests', sub { mock_requests('mock', 'survives') == 60 });
my $pids = value(q(string_agg(pid::text, ',') FROM agno.workers));
my ($first) = split /,/, $pids;
value("pg_terminate_backend($first)");
ok(completed('survives', 60), 'all runs complete when a runner was terminated');
cmp_ok(scalar(mock_requests('mock', 'survives')),
	'<', 120, 'the runs of other runners are not sent again');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 3 FROM agno.workers WHERE state = 'running'"),
	'a runner that was terminated is replaced');

# They step aside, and leave with the extension.
$node->safe_psql('template1', 'ALTER DATABASE postgres RENAME TO renamed');
$node->safe_psql('template1', 'ALTER DATABASE renamed RENAME TO postgres');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 3 FROM agno.workers WHERE state = 'running'"),
	'the runners come back after a command that they were in the way of');
$node->safe_psql('postgres', 'DROP EXTENSION agno_bg CASCADE');
ok( $node->poll_query_until('postgres', "SELECT count(*) = 0
		FROM pg_stat_activity WHERE backend_type = 'agno_bg runner'"),
	'the runners leave with the extension');

done_testing();
