# Very many runs are old, and are not to be deleted: they have ended just now, or have not.
# Retention looks at them a part at a time, so that nobody waits for that, and what is behind
# them is deleted all the same. (The rows are put there by hand, and auto_explain counts those
# that are looked at.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $libraries = `pg_config --pkglibdir`);
plan skip_all => 'auto_explain is not installed'
  unless glob("$libraries/auto_explain.*");

my $rows = 30000;
my $most = 2000;
my $node = new_node('main', conf => "shared_preload_libraries = 'agno_bg, auto_explain'\nauto_explain.log_min_duration = 0\nauto_explain.log_analyze = on\nauto_explain.log_timing = off\nauto_explain.log_nested_statements = on");
my $run = q('x', 'echo', 'mock', 'postgres'::regrole, 1, 0, now() - '1 day'::interval + i * '1 ms'::interval);

$node->safe_psql('postgres', qq(
	SET auto_explain.log_min_duration = -1;
	INSERT INTO agno.runs (run_id, session_id, status, finished_at, input, model, model_provider, owner, attempt, priority, created_at)
		SELECT 'r-' || i, 's-' || i, 'COMPLETED'::agno.run_status, now() + '1 day'::interval, $run FROM generate_series(1, $rows) i
		UNION ALL SELECT 'old', 'old', 'COMPLETED'::agno.run_status, now() - '2 h'::interval, $run FROM generate_series($rows + 1, $rows + 1) i));
configure(retention => '1 h');
replace_runner();
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM agno.runs WHERE run_id = 'old')"), 'what is behind them is deleted');
is(value("count(*) FROM agno.runs WHERE run_id ~ '^r-'"), $rows, 'and nothing else');

# A plan says how many rows it has given, or removed.
my ($looks, $largest) = (0, 0);
foreach my $plan (split /LOG:  duration:/, slurp_file($node->logfile))
{
	next if $plan !~ /make_interval\(secs/ || $plan !~ /^\s*Query Text: SELECT .*agno\.runs/m;
	$looks++;
	$largest = max($largest, $plan =~ /(?:actual rows=|Rows Removed by Filter: )(\d+)/g);
}
note("$looks looks, at $largest rows at most");
cmp_ok($looks, '>=', $rows / $most, 'it has taken many looks');
cmp_ok($largest, '<', 2 * $most, 'none of which was at many rows');

$node->stop;
done_testing();
