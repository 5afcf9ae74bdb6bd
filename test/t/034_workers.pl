# agno.workers: what the runners of all databases do and have done.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
new_database('other');
runner_pid('other');

$node->safe_psql('postgres', q(
	SELECT agno_arun('a', model => 'mock:echo', run_id => 'a');
	SELECT agno_arun('b', model => 'mock:status-400', run_id => 'b');
	SELECT agno_arun('c', model => 'mock:flaky-1-500', run_id => 'c');
	SELECT agno_arun('d', model => 'mock:hang', run_id => 'd');
	SELECT agno_arun('e', model => 'mock:hang', run_id => 'e')));
wait_run($_) foreach qw(a b c);
wait_until('d to run', sub { run_status('d') eq 'RUNNING' });
$node->safe_psql('postgres', "SELECT agno_cancel_run('d')");
wait_run('d');

is( $node->safe_psql('other', q(
		SELECT state, in_flight, claimed, completed, failed, cancelled, retried
		FROM agno.workers WHERE database = 'postgres')),
	'running|1|5|2|1|1|1', 'agno.workers has a runner of another database');
is( $node->safe_psql('postgres', q(
		SELECT w.database, in_flight, claimed, w.pid = a.pid, since <= now()
		FROM agno.workers w JOIN pg_stat_activity a ON a.datname = w.database
		WHERE a.backend_type = 'agno_bg runner' AND w.database = 'other')),
	'other|0|0|t|t', 'agno.workers has a runner without work');

$node->safe_psql('postgres', 'CREATE ROLE monitor IN ROLE pg_monitor;
	CREATE ROLE stranger');
is( $node->safe_psql('postgres',
		'SET ROLE monitor; SELECT count(*) FROM agno.workers'),
	2, 'roles of pg_monitor may read agno.workers');

# What they wait for has names where PostgreSQL allows for them.
my $caller = $node->background_psql('postgres');
$caller->query_until(qr/waiting/, "\\echo waiting\nSELECT agno_wait_run('e');\n");
my $names = $node->safe_psql('postgres', 'SHOW server_version_num') >= 170000
  ? 'AgnoBgLauncher,AgnoBgRunner,AgnoWaitRun' : 'Extension';
ok( $node->poll_query_until('postgres', q(SELECT string_agg(DISTINCT wait_event, ','
			ORDER BY wait_event) FROM pg_stat_activity
		WHERE wait_event_type = 'Extension'), $names),
	"wait events: $names");
$node->safe_psql('postgres', "SELECT agno_cancel_run('e')");
$caller->quit;

my ($ret) = $node->psql('postgres',
	'SET ROLE stranger; SELECT count(*) FROM agno.workers');
isnt($ret, 0, 'roles without rights may not read agno.workers');

done_testing();
