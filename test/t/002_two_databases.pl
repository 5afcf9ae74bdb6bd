# Databases work side by side without any setting: at CREATE EXTENSION, after
# a restart of the server, and after DROP EXTENSION and CREATE EXTENSION. The
# processes have their names; those of databases without the extension leave.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', no_extension => 1);
my $url = start_mock('mock');
my $workers = "SELECT string_agg(format('%s/%s', backend_type, datname),
	' ' ORDER BY backend_type, datname) FROM pg_stat_activity
	WHERE backend_type LIKE 'agno_bg%'";

ok( $node->poll_query_until('postgres', $workers, 'agno_bg launcher/'),
	'without the extension, there is only the launcher');

$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(one two);
foreach my $database (qw(one two))
{
	$node->safe_psql($database, 'CREATE EXTENSION agno_bg');
	add_mock_server($url, database => $database);
	enqueue('same', 'slow-300', input => "in $database", database => $database);
}
is(wait_run('same', $_), 'COMPLETED', "a run of database $_ completes")
  foreach qw(one two);
is( $node->safe_psql('two', "SELECT content FROM agno.runs"),
	'You said: in two',
	'databases know nothing of each other');
is( $node->safe_psql('postgres', $workers),
	'agno_bg launcher/ agno_bg runner/one agno_bg runner/two',
	'there is one runner for each database, with its name');
is(value("DISTINCT state FROM pg_stat_activity
		WHERE backend_type = 'agno_bg runner'"),
	'idle',
	'runners report that they are idle');
ok( $node->poll_query_until(
		'one', "SELECT n_tup_upd > 0 FROM pg_stat_user_tables
		WHERE relid = 'agno.runs'::regclass"),
	'runners flush their table statistics');

$node->restart;
foreach my $database (qw(one two))
{
	runner_pid($database);
	enqueue('again', 'echo', database => $database);
	is(wait_run('again', $database),
		'COMPLETED', "a run of database $database completes after a restart");
}

# Drop, also within a transaction that rolls back.
my $pid = runner_pid('one');
$node->safe_psql('one', 'BEGIN; DROP EXTENSION agno_bg CASCADE; ROLLBACK');
enqueue('third', 'echo', database => 'one');
is(wait_run('third', 'one'),
	'COMPLETED', 'DROP EXTENSION that rolls back does no harm');
is(runner_pid('one'), $pid,
	'the runner stays when DROP EXTENSION is rolled back');

$node->safe_psql('one', 'DROP EXTENSION agno_bg CASCADE');
ok( $node->poll_query_until(
		'postgres', $workers, 'agno_bg launcher/ agno_bg runner/two'),
	'DROP EXTENSION sends the runner home');
$node->safe_psql('one', 'CREATE EXTENSION agno_bg');
add_mock_server($url, database => 'one');
enqueue('anew', 'echo', database => 'one');
is(wait_run('anew', 'one'), 'COMPLETED',
	'CREATE EXTENSION brings the runner back');

# DROP while a run is in flight, and CREATE right away.
enqueue('flying', 'hang', input => 'x', database => 'two');
wait_for_request('x');
$node->safe_psql('two',
	'DROP EXTENSION agno_bg CASCADE; CREATE EXTENSION agno_bg');
add_mock_server($url, database => 'two');
enqueue('flying', 'echo', input => 'after', database => 'two');
is(wait_run('flying', 'two'),
	'COMPLETED',
	'a run completes after DROP and CREATE EXTENSION with another in flight');

# Neither has a runner failed that has left so, however often.
my $start = time;
foreach my $round (1 .. 4)
{
	$node->safe_psql('two',
		'BEGIN; DROP EXTENSION agno_bg CASCADE; CREATE EXTENSION agno_bg; COMMIT');
	add_mock_server($url, database => 'two');
	like($node->safe_psql('two', q(CALL agno_run('x', model => 'mock:echo'))),
		qr/COMPLETED/, 'nor does the next one wait');
}
cmp_ok(time - $start, '<', 10, 'as after a failure');

# Without the preload, the error says what to do.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
foreach my $sql ('CREATE EXTENSION agno_bg', q(INSERT INTO agno.agents (agent_id) VALUES ('a')), q(SELECT agno_arun('x')))
{
	my ($ret, $out, $err) = $node->psql($sql =~ /^CREATE/ ? 'postgres' : 'two', $sql);
	like($err, qr/must be loaded when the server starts.*shared_preload_libraries = 'agno_bg'/s,
		"without the preload, $sql says which line to add");
}
$node->stop;
done_testing();
