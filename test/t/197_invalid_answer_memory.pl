# An answer that is JSON, and none of its API, is read once: it takes no more memory of
# the runner than a good one of its length.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_input_size = '16MB'\nagno_bg.max_response_size = '16MB'\n");
add_mock_server(start_mock('mock'));

# The input of the model "raw" is the answer. Returns what it takes, in kB.
sub memory_of
{
	my ($name, $start, $end, $status) = @_;
	my $input = "'$start' || repeat('1,', 2500000) || '1$end'";
	replace_runner();
	enqueue("$name-before", 'echo');
	is(value("status FROM agno_wait_run('$name-before')"), 'COMPLETED', 'a run before');
	my $before = status_of(runner_pid(), 'VmHWM');
	enqueue($name, 'raw', input => \$input);
	is(value("status FROM agno_wait_run('$name')"), $status, "a run of $name");
	return status_of(runner_pid(), 'VmHWM') - $before;
}

my $good = memory_of('good', '{"a":[', '],"output":[{"type":"message","content":[{"type":"output_text","text":"x"}]}]}', 'COMPLETED');
my $invalid = memory_of('invalid', '[', ']', 'ERROR');
note("$good kB, $invalid kB");
cmp_ok($good, '>', 50_000, 'an answer takes memory');
cmp_ok($invalid, '<', 1.4 * $good, 'and one that is none takes no more');
like(value("content FROM agno.runs WHERE run_id = 'invalid'"), qr/^invalid answer of the model server: not a JSON answer: \[1,1,1/, 'it is shown');

$node->stop;
done_testing();
