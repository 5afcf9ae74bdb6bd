# A server that claims absurd numbers of tokens blocks its key for two minutes and no
# longer, and what the runner knows of a key is forgotten when nothing depends on it
# any more, so that many of them take no memory. A minute is a second here: the fault
# is a clock.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', fault => 'fast_clock');
my $url = start_mock('mock');
# The input of the model "raw" is the answer.
my $answer = q({"status":"completed","usage":{"total_tokens":900000000000},"output":[{"type":"message","content":[{"text":"Hi"}]}]});
$node->safe_psql('postgres', qq(
	CREATE SERVER poor FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url', tokens_per_minute '100000')));

enqueue('absurd', 'poor:raw', input => $answer);
expect_run('absurd', { status => 'COMPLETED', "metrics->>'total_tokens'" => '900000000000' }, 'a claim of many tokens');
my $start = time;
enqueue('next', 'poor:echo', timeout => '1 day');
expect_run('next', { status => 'COMPLETED' }, 'the next run starts');
my $took = time - $start;
note("after $took s");
cmp_ok($took, '>', 1, 'not at once');
cmp_ok($took, '<', 20, 'but when two minutes are over');

# Each round has servers of its own, more than are remembered.
my $count = 1500;
sub round
{
	my ($number) = @_;

	$node->safe_psql('postgres', qq(
		DO \$\$ BEGIN FOR i IN 1..$count LOOP
			EXECUTE format('CREATE SERVER s${number}_%s FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url ''$url'', tokens_per_minute ''1'')', i);
		END LOOP; END \$\$;
		SELECT count(*) FROM generate_series(1, $count) i,
			agno_arun('$answer', model => 's${number}_' || i || ':raw', timeout => '1 day', run_id => 'r${number}_' || i)));
	ok($node->poll_query_until('postgres', "SELECT count(*) = $count FROM agno.runs WHERE run_id ~ '^r${number}_' AND status = 'COMPLETED'"),
		"runs of $count servers complete");
	enqueue("again-$number", "s${number}_$count:echo", timeout => '1 day');
	expect_run("again-$number", { status => 'COMPLETED' }, 'until nothing depends on what they did');
	return status_of(runner_pid(), 'RssAnon');
}

# How much the first ones take depends on how many are executed at once.
round($_) foreach 1, 2;
my $before = round(3);
round(4);
my $growth = round(5) - $before;
note("the runner has grown by $growth kB");
cmp_ok($growth, '<', 15_000, 'what is known of servers is forgotten');

$node->stop;
done_testing();
