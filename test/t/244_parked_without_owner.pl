# Parked runs that come from a dump of 1.0, whose queue has no owners, take turns with those
# of others. Their rows are made so by hand, as a restore leaves them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
make_user('app', 'boss');
$node->safe_psql('postgres', qq(
	CREATE SERVER narrow FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url', max_concurrency '1');
	GRANT USAGE ON FOREIGN SERVER narrow TO app, boss));
enqueue('gate', 'narrow:gate', role => 'app');
wait_for_request('gate');
as($_->[0], "SELECT count(agno_arun('x', model => 'narrow:echo', run_id => '$_->[0]' || i)) FROM generate_series(1, $_->[1]) i")
  foreach ['app', 30], ['boss', 5];
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 35 FROM agno.run_queue WHERE state = 'p'"),
	'35 runs wait for a server that takes one at a time');
$node->safe_psql('postgres', "UPDATE agno.run_queue SET owner = 0 WHERE run_id ~ '^app'");
open_gate('mock');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 36 FROM agno.runs WHERE status = 'COMPLETED'"),
	'all complete');
my $before = value("count(*) FROM agno.runs WHERE run_id ~ '^app'
		AND started_at < (SELECT max(started_at) FROM agno.runs WHERE run_id ~ '^boss')");
cmp_ok($before, '<', 12, 'those of another role come in between');

$node->stop;
done_testing();
