# Memory is flat: of the worker over 100,000 runs, of a session that enqueues
# over 100,000 calls.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $port = start_nginx('
		listen 127.0.0.1:PORT;
		default_type application/json;
		location / { return 200 \'{"object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Paris"}]}],"usage":{"input_tokens":11,"output_tokens":7,"total_tokens":18}}\'; }')
  or plan skip_all => 'there is no nginx';
my $node = new_node('main', conf => 'fsync = off');
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER fast FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://127.0.0.1:$port');
	CREATE PROCEDURE call_many(calls integer) LANGUAGE plpgsql AS \$\$
	BEGIN
		FOR i IN 1..calls LOOP
			PERFORM agno_arun('Hello ' || i, model => 'fast:m');
			IF i % 100 = 0 THEN
				COMMIT;
			END IF;
		END LOOP;
	END \$\$));

# Private memory of a process, in kB.
sub memory
{
	return status_of($_[0], 'RssAnon');
}

my $session = $node->background_psql('postgres');
my $backend = $session->query_safe('SELECT pg_backend_pid()');
my $runner = runner_pid();

sub execute_runs
{
	my ($calls) = @_;
	$session->query_safe("CALL call_many($calls)");
	$node->poll_query_until('postgres',
		'SELECT NOT EXISTS (SELECT FROM agno.run_queue)')
	  or die 'the runs do not end';
}

# What the worker has used of its memory contexts so far, in bytes.
sub contexts
{
	my $seen = logged(qr/Grand total/);
	my @totals;

	$node->safe_psql('postgres',
		"SELECT pg_log_backend_memory_contexts($runner)");
	wait_until('the log',
		sub { @totals = slurp_file($node->logfile)
			=~ /Grand total: .* (\d+) used/g; @totals > $seen });
	return $totals[-1];
}

# What is kept for the next time is there after the first runs.
execute_runs(60_000);
my @before = ((map { memory($_) } $runner, $backend), contexts());
execute_runs(100_000);
my @after = ((map { memory($_) } $runner, $backend), contexts());
is(value("count(*) FROM agno.runs WHERE status = 'COMPLETED'"),
	160_000, 'all runs complete');
note("worker: $before[0] kB, then $after[0] kB; "
	  . "session: $before[1] kB, then $after[1] kB; "
	  . "contexts of the worker: $before[2], then $after[2]");
# Statements that are needed for the first time now keep their plans, up to 80 kB
# each. The smallest piece kept of each run would be 1.6 MB.
cmp_ok($after[2] - $before[2],
	'<', 1_000_000, "the worker's memory contexts have not grown");
# malloc() has its ups and downs, but less than 100 bytes for each run
cmp_ok($after[0] - $before[0], '<', 10_000, 'what libcurl holds has not grown');
cmp_ok($after[1] - $before[1], '<', 1000,
	'the memory of the session has not grown');

$session->quit;
$node->stop;
done_testing();
