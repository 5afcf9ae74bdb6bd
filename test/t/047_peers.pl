# Where others that work in the background of PostgreSQL break, as far as no
# other test is about it: a slow request among fast ones (pg_net: delays its whole
# batch), request bodies above 64 kB (pg_net: stall), tables that autovacuum knows
# nothing of (pg_net), a launcher that is terminated (pg_cron: gone until a
# restart), a session that becomes slower with each
# transaction (pg_net).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.max_input_size = '20MB'");
add_mock_server(start_mock('mock'));

# One slow run among fast ones
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 20) i, agno_arun('mixed',
		model => CASE i WHEN 1 THEN 'mock:slow-5000' ELSE 'mock:echo' END,
		run_id => 'mixed' || i)));
my $start = time;
ok( $node->poll_query_until('postgres', q(SELECT count(*) = 19 FROM agno.runs
		WHERE run_id LIKE 'mixed%' AND status = 'COMPLETED')),
	'fast runs complete');
cmp_ok(time - $start, '<', 4, 'fast runs do not wait for the slow one');
is(value(q(count(*) FROM pg_stat_activity WHERE backend_type = 'agno_bg runner'
		AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL))),
	0, 'the runner holds no transaction while a run is in flight');
is(wait_run('mixed1'), 'COMPLETED', 'the slow run completes as well');

# Bodies of one and of ten megabytes
foreach my $size (1_000_000, 10_000_000)
{
	$node->safe_psql('postgres', "SELECT agno_arun(repeat('x', $size),
		model => 'mock:echo', run_id => 'body$size')");
	is(wait_run("body$size"), 'COMPLETED', "a run with $size bytes completes");
	is(value("length(content) FROM agno.runs WHERE run_id = 'body$size'"),
		$size + length('You said: '), "all $size bytes arrive");
}

# What autovacuum decides by
ok( $node->poll_query_until('postgres', q(
		SELECT n_tup_upd > 0 FROM pg_stat_user_tables
		WHERE schemaname = 'agno' AND relname = 'runs')),
	'statistics count what the runner inserts');
ok( $node->poll_query_until('postgres', q(
		SELECT n_tup_del > 0 FROM pg_stat_user_tables
		WHERE schemaname = 'agno' AND relname = 'run_queue')),
	'statistics count what the runner deletes');

# The launcher
my $launcher = launcher_pid();
value("pg_terminate_backend($launcher)");
ok( $node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'agno_bg launcher' AND pid <> $launcher"),
	'a launcher that is terminated comes back');
new_database('after_that');
ok(runner_pid('after_that'), 'the new launcher starts runners');

# A session with many transactions that wake the worker, beside a new one
sub duration
{
	my ($session, $transactions) = @_;
	my $before = time;
	$session->query_safe("DO \$\$ BEGIN FOR i IN 1..$transactions LOOP
		PERFORM agno_cancel_run('nobody'); COMMIT; END LOOP; END \$\$");
	return time - $before;
}
my ($old, $new) = map { $node->background_psql('postgres') } 1 .. 2;
my (@old, @new);
duration($old, 10000);
duration($new, 100);
foreach (1 .. 5)
{
	push @old, duration($old, 200);
	push @new, duration($new, 200);
}
note("200 transactions after 10,000: @old s, after 100: @new s");
cmp_ok(min(@old), '<', 2 * min(@new), 'a session does not become slower');
$_->quit foreach $old, $new;

$node->stop;
done_testing();
