# A database that is made as a copy, and one that is a template no more, go on with the
# runs that they have, though nobody connects to them. Fault injected: the server is
# restarted while the database is a template.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', no_extension => 1);
my $url = start_mock('mock');
new_database('source', $url);
enqueue('flies', 'slow-2500', input => 'flies', database => 'source');
$node->safe_psql('source', q(SELECT agno_arun('x', model => 'mock:echo', run_at => now() + interval '3 s', run_id => 'waits')));
wait_for_request('flies');

sub goes_on
{
	my ($database, $name) = @_;

	ok( $node->poll_query_until(
			'postgres',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'agno_bg runner' AND datname = '$database'"
		),
		"$name has a runner");
	# whoever asks for a status wakes nobody
	ok( $node->poll_query_until(
			$database,
			q(SELECT count(*) = 2 FROM agno.runs WHERE status = 'COMPLETED')),
		"$name executes its runs");
}

$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE source');
goes_on('copied', 'a copy');
goes_on('source', 'what was copied');

# who copies a database without the extension sees nothing of us
$node->safe_psql('postgres', 'CREATE DATABASE empty');
$node->safe_psql('postgres', 'CREATE DATABASE of_empty TEMPLATE empty');
ok( $node->poll_query_until(
		'postgres',
		q(SELECT count(*) = 0 FROM pg_stat_activity WHERE datname LIKE '%empty')),
	'a database without the extension has no runner');

# By a session of the template itself.
$node->safe_psql('copied', 'CREATE DATABASE of_itself TEMPLATE copied');
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'agno_bg runner' AND datname IN ('copied', 'of_itself')"),
	'a database is copied by a session of its own, and both have a runner');

$node->safe_psql('copied', q(SELECT agno_arun('x', model => 'mock:hang', run_id => 'template')));
wait_for_request('x');
$node->safe_psql('postgres', 'ALTER DATABASE copied IS_TEMPLATE true');
$node->restart;
# the launcher goes through all databases: another has its runner
runner_pid('source');
my $runners = q(count(*) FROM pg_stat_activity WHERE backend_type = 'agno_bg runner' AND datname = 'copied');
is(value($runners), 0, 'a template has no runner');
$node->safe_psql('postgres',
	'BEGIN; SAVEPOINT a; ALTER DATABASE copied IS_TEMPLATE false; ROLLBACK TO a; ALTER DATABASE copied IS_TEMPLATE false; ROLLBACK');
is(value($runners), 0, 'nor if it is one still');
$node->safe_psql('postgres',
	'BEGIN; SAVEPOINT a; ALTER DATABASE copied IS_TEMPLATE false; RELEASE a; COMMIT');
ok($node->poll_query_until('postgres', "SELECT 1 = $runners"),
	'one that is a template no more has a runner');

$node->stop;
done_testing();
