# What a run costs does not depend on how large the tables were when the runner
# planned its statements. The fault is that they were tiny, and that the planner
# knew it. Counted as the rows
# that are joined in vain, of which auto_explain tells.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $libraries = `$ENV{PG_CONFIG} --pkglibdir`);
plan skip_all => 'auto_explain is not installed'
  unless glob("$libraries/auto_explain.*");

my $runs = 3000;
my $node = new_node(
	'main',
	conf => q(
shared_preload_libraries = 'agno_bg, auto_explain'
autovacuum = off
));
my $url = start_mock('mock');

add_mock_server($url);

# A few runs, and the planner knows how few
$node->safe_psql('postgres', q(
	SELECT count(agno_arun('x', model => 'mock:echo', run_id => 'few' || i))
	FROM generate_series(1, 12) i));
wait_run("few$_") foreach 1 .. 12;
$node->safe_psql('postgres', "VACUUM ANALYZE agno.$_")
  foreach split /\n/, value("relname FROM pg_class
	WHERE relnamespace = 'agno'::regnamespace AND relkind = 'r'");
replace_runner();
$node->safe_psql('postgres', "CALL agno_run('x', model => 'mock:echo')");

# Many runs
$node->safe_psql('postgres', q(
	ALTER SYSTEM SET auto_explain.log_analyze = on;
	ALTER SYSTEM SET auto_explain.log_timing = off;
	ALTER SYSTEM SET auto_explain.log_min_duration = 0));
$node->reload;
$node->safe_psql('postgres', qq(
	SELECT count(agno_arun('x', model => 'mock:echo'))
	FROM generate_series(1, $runs) i));
$node->poll_query_until('postgres',
	'SELECT NOT EXISTS (SELECT FROM agno.run_queue)');
$node->stop;

my ($plans, $vain) = (0, 0);
foreach my $entry (split /^(?=\d{4}-\d\d-\d\d )/m, slurp_file($node->logfile))
{
	next unless $entry =~ /agno_bg runner LOG: .*plan:/;
	$plans++;
	$vain += $1 while $entry =~ /Rows Removed by (?:Join )?Filter: (\d+)/g;
}
cmp_ok($plans, '>', 10, "$plans statements of the runner are seen");
# Those that are picked from are looked past while they are claimed: a few for each.
cmp_ok($vain / $runs, '<', 50,
	sprintf('%.2f rows are looked at in vain for each run', $vain / $runs));

done_testing();
