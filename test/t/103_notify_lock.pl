# Whoever notifies has the queue of notifications locked for the whole server until
# its commit is over, and no privilege is needed for it. Runs of others are executed
# nevertheless, and nobody is notified meanwhile. The fault is a commit that
# notifies and waits for a standby that is not there.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node(
	'main',
	conf => q(
synchronous_commit = local
wal_level = replica
max_wal_senders = 2
));
my $holds = "count(*) FROM pg_locks WHERE locktype = 'object' AND granted
	AND classid = 'pg_database'::regclass AND objid = 0
	AND mode = 'AccessExclusiveLock'";

add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q(
	CREATE TABLE note (n integer);
	ALTER SYSTEM SET synchronous_standby_names = 'nobody';
	SELECT pg_reload_conf();
	CALL agno_run('before', model => 'mock:echo')));
$node->poll_query_until('postgres',
	"SELECT current_setting('synchronous_standby_names') = 'nobody'");

my $holder = $node->background_psql('postgres');
$holder->query_until(qr/go/, "\\echo go
	SET synchronous_commit = 'on'; BEGIN; INSERT INTO note VALUES (1);
	NOTIFY flood; COMMIT;\n");
ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT $holds HAVING count(*) > 0)"),
	'somebody who notifies holds the lock');

my $start = time;
foreach my $i (1 .. 5)
{
	my ($ret, $out) = $node->psql('postgres',
		"SET statement_timeout = '20s'; CALL agno_run('x$i', model => 'mock:echo')");
	like($out, qr/COMPLETED/, "run $i is executed while the lock is held");
}
cmp_ok(time - $start, '<', 5, 'and waits for no longer than the lock timeout');
is(value($holds), 1, 'the lock has been held all the time');
is(logged(qr/agno_bg runner ERROR:.*lock timeout/), 1,
	'the log says so once');

$node->stop('immediate');
done_testing();
