# A library and SQL objects of different versions never work on each other's
# tables: in a database with the extension of another version, the functions
# raise an error whose hint is the way out, no runner stays, and the log says why.

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
$node->safe_psql('postgres', 'CREATE DATABASE old');
$node->safe_psql('old', "CREATE EXTENSION agno_bg VERSION '1.0'");

foreach my $call (
	"SELECT agno_arun('x')", "SELECT agno_cancel_run('x')",
	"SELECT agno_wait_run('x')", "SELECT agno_requeue_run('x')",
	"CALL agno_run('x')")
{
	my ($ret, $out, $err) =
	  $node->psql('old', "\\set VERBOSITY verbose\n$call");
	like($err, qr/55000: .*version 1\.0.*HINT:  Run ALTER EXTENSION agno_bg UPDATE/s,
		"$call says that the versions differ, and what to do");
}
wait_until('the line in the log', sub {
	logged(qr/executes no runs in database "old"/) });
ok( $node->poll_query_until('postgres',
		"SELECT NOT EXISTS (SELECT FROM agno.workers WHERE database = 'old')"),
	'no runner stays in the database');
like(slurp_file($node->logfile),
	qr/executes no runs in database "old": .*version.*\n.*HINT:  Run ALTER EXTENSION agno_bg UPDATE/,
	'the log says why there is no runner, and what to do');
like($node->safe_psql('postgres', "CALL agno_run('x', model => 'mock:echo')"),
	qr/\|COMPLETED\|/, 'the other database works');

# Dropped and created anew, it is of the library's version.
$node->safe_psql('old', 'DROP EXTENSION agno_bg; CREATE EXTENSION agno_bg');
ok( $node->poll_query_until('postgres',
		"SELECT state = 'running' FROM agno.workers WHERE database = 'old'"),
	'a runner comes when the versions agree');

$node->stop;
done_testing();
