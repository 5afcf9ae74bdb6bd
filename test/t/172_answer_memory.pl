# What a model server answers, and what a role hands in, takes no more memory of the
# runner than some multiple of it: many keys, many calls of tools of a run that has
# none, many events of a stream, many options. Once, a few bytes of each took a kB.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
$node->safe_psql('postgres', "CREATE SERVER chat FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-chat', base_url '$url')");

# The input of the model "raw" is the answer.
sub input
{
	my ($start, $again, $count, $end) = @_;
	my $input = "'$start' || repeat(E'$again', $count) || E'$end'";
	return (input => \$input);
}
my $options = q((SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 50000) i));

enqueue('before', 'echo');
expect_run('before', { status => 'COMPLETED' }, 'a run before');
my $before = status_of(runner_pid(), 'VmHWM');
enqueue('keys', 'raw', input('{', '"":1,', 150_000, '"output":[{"type":"function_call"}]}'));
enqueue('calls', 'chat:raw', input('{"choices":[{"message":{"tool_calls":[', '1,', 300_000, '1]}}]}'));
enqueue('events', 'chat:raw', stream => 'on',
	input('', 'data:{"usage":{}}\n\n', 40_000, 'data:{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'));
enqueue('items', 'raw', stream => 'on',
	input('', 'data:{"type":"response.output_item.done","item":{"type":"message"}}\n\n', 12_000,
		'data:{"type":"response.completed","response":{"status":"completed","output":[]}}\n\n'));
enqueue('options', 'echo', model_options => \$options);
expect_run($_, { status => 'COMPLETED' }, "a run of many $_ completes") foreach qw(keys events items options);
expect_run('calls', { status => 'ERROR', "error->>'type'" => 'invalid_response', content => 'the answer has more than 1000 calls of tools' },
	'too many calls are an error, also of a run without tools');
my $growth = status_of(runner_pid(), 'VmHWM') - $before;
note("the runner has grown by $growth kB");
cmp_ok($growth, '<', 120_000, 'they take no memory to speak of');

$node->stop;
done_testing();
