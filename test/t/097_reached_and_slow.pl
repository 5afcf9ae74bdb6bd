# A model server is reached when a request is on its way to it. After an outage, the
# run that finds that out may get its answer late or never: the others go on, and
# none is given up.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $node = new_node('main');
add_mock_server("http://127.0.0.1:$port/v1",
	options => ", unreachable_patience '6s'");

# The oldest is the one that tries
foreach my $stream ('off', 'on')
{
	enqueue("first $stream", 'mock:hang', stream => $stream);
	$node->poll_query_until('postgres',
		"SELECT state = 'p' FROM agno.run_queue WHERE run_id = 'first $stream'")
	  or die 'the run does not wait for its server';
	enqueue("run $stream $_", 'mock:echo', stream => $stream) foreach 1 .. 5;
	$node->poll_query_until('postgres',
		"SELECT bool_and(state = 'p') FROM agno.run_queue")
	  or die 'the runs do not wait for their server';
	start_mock('mock', '--port', $port);
	expect_run("run $stream $_", { status => 'COMPLETED' },
		"run $_ completes beside one that gets no answer (stream $stream)")
	  foreach 1 .. 5;
	is(run_status("first $stream"), 'RUNNING',
		"the run that has found the server waits for its answer (stream $stream)");
	value("agno_cancel_run('first $stream')");
	stop_mock('mock');
}

$node->stop;
done_testing();
