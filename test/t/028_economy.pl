# What a run costs, counted rather than timed: statements, transactions, bytes
# of WAL, context switches, and updates that had to touch an index. The bounds
# are a quarter or more above what is usual: they are passed when somebody makes the runner
# work run by run instead of in sets.
# Alone: it counts what all processes do.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $libraries = `pg_config --pkglibdir`);
plan skip_all => 'pg_stat_statements is not installed'
  unless glob("$libraries/pg_stat_statements.*");

my $port = start_nginx('
		listen 127.0.0.1:PORT;
		default_type application/json;
		location / { return 200 \'{"object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Paris"}]}],"usage":{"input_tokens":11,"output_tokens":7,"total_tokens":18}}\'; }')
  or plan skip_all => 'there is no nginx';
my $node = new_node(
	'main',
	conf => q(
shared_preload_libraries = 'agno_bg, pg_stat_statements'
pg_stat_statements.track = all
autovacuum = off
full_page_writes = off
));
# A model server that is faster than the runner: else there is nothing to do in
# sets.
$node->safe_psql('postgres', "CREATE SERVER fast FOREIGN DATA WRAPPER agno_bg
	OPTIONS (base_url 'http://127.0.0.1:$port')");
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');

my $runs = 4000;
my $burn = sub {
	$node->safe_psql('postgres', "SELECT count(*) FROM generate_series(1, $runs) i,
		agno_arun('Hello ' || i, model => 'fast:m')");
	$node->poll_query_until('postgres',
		'SELECT NOT EXISTS (SELECT FROM agno.run_queue)');
};
my $switches = sub {
	return -e '/proc/self/status' ? switches_of(runner_pid()) : 0;
};

$burn->();
my $wal = value('pg_current_wal_insert_lsn()');
my $switched = $switches->();
my $started = value("txid_current()::text::bigint");
value('pg_stat_statements_reset()');
$burn->();

my $per_run = sub {
	my ($what, $count, $most) = @_;
	cmp_ok($count / $runs, '<', $most,
		sprintf('%s for each run: %.2f', $what, $count / $runs));
};

$per_run->(
	'statements of the runner',
	value(
		q(sum(calls) FROM pg_stat_statements
		WHERE query ~ 'agno\.' AND query !~ '^INSERT|pg_catalog\.|NOT EXISTS')),
	0.05);
$per_run->('transactions that write',
	value("txid_current()::text::bigint") - $started, 0.02);
$per_run->('bytes of WAL',
	value("pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$wal')"), 3500);
$per_run->('context switches of the runner',
	$switches->() - $switched, 0.1);

# The statistics of the runner arrive when it sleeps.
$node->poll_query_until('postgres',
	"SELECT n_tup_upd >= 4 * $runs FROM pg_stat_user_tables WHERE relid = 'agno.runs'::regclass"
);
cmp_ok(
	value(
		"round(n_tup_hot_upd::numeric / n_tup_upd, 2) FROM pg_stat_user_tables "
		  . "WHERE relid = 'agno.$_'::regclass"),
	'>', 0.9,
	"most updates of agno.$_ touch no index")
  foreach qw(runs sessions run_queue);

done_testing();
