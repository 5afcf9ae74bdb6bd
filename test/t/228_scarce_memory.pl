# When there is too little memory for what has ended, the largest runs make room for all
# others, which wait for seconds. In the log, there are few lines about it.
# Fault injected: the runner may take 100 MB more, while answers are there that need as
# much, each, to be stored. The server is mock/flooding_server.py.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $runs = 20;
my $flood = start_flood('flood');
my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
$node->safe_psql('postgres', qq(
	CREATE SERVER flood FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-responses', base_url '$flood');
	GRANT USAGE ON FOREIGN SERVER flood TO greedy));

as('other', q(CALL agno_run('x', model => 'mock:echo')));
my $runner = runner_pid();

# Sets how much memory the runner may have, in bytes.
sub limit
{
	my ($bytes) = @_;
	system_or_bail('prlimit', '--pid', $runner, "--as=$bytes:unlimited");
}

limit((status_of($runner, 'VmSize') + 100 * 1024) * 1024);
as('greedy', "SELECT count(agno_arun('x', run_id => 'greedy-' || i, model => 'flood:controls-$runs')) FROM generate_series(1, $runs) i");
my $longest = longest_call('other', sub {
	value("count(*) = $runs FROM agno.runs WHERE run_id ~ '^greedy' AND status IN ('COMPLETED', 'ERROR')") eq 't' });
note("others waited for $longest s");
cmp_ok($longest, '<', 20, 'runs of others do not wait for long');
cmp_ok(value("count(*) FROM agno.runs WHERE run_id ~ '^greedy' AND error ->> 'message' = 'out of memory'"), '>', 0,
	'the memory was too little for some');
is(value("count(*) FROM agno.runs WHERE owner = 'other'::regrole AND status <> 'COMPLETED'"), 0,
	'and for none of the others');
my $totals = logged('Grand total');
note("$totals times out of memory");
cmp_ok($totals, '<', 4 * $runs, 'the log says so no more often than that');

limit('unlimited');
enqueue('after', "flood:controls-1", role => 'greedy');
expect_run('after', { status => 'COMPLETED' }, 'with enough memory, such a run completes');
is(runner_pid(), $runner, 'in the same runner');

$node->stop;
done_testing();
