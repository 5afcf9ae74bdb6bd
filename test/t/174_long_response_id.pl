# A server whose id of a response is too long to be asked about it, or to be told that
# nobody wants it any more, costs its own run and neither the runner nor the runs of
# others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_input_size = '20MB'\n");
add_mock_server(start_mock('mock'));
my $runner = runner_pid();

enqueue('beside', 'slow-3000');
wait_for_request('beside');
# The input of the model "raw" is the answer. libcurl takes URLs of 8 MB.
my $answer = q('{"id":"' || repeat('A', 9000000) || '","status":"queued"}');
enqueue("long-$_", 'raw', input => \$answer, model_options => '{"background": true}', timeout => "$_ s") foreach 1 .. 3;
expect_run("long-$_",
	{ status => 'ERROR', "error->>'type'" => 'invalid_response', content => 'the id of the response is longer than 255 bytes' },
	'a response with a long id is none') foreach 1 .. 3;
expect_run('beside', { status => 'COMPLETED', attempt => 1 }, 'a run of somebody else is not interrupted');
is(runner_pid(), $runner, 'by the end of the runner');
is(logged('could not prepare the request'), 0, 'nothing is logged');

$node->stop;
done_testing();
