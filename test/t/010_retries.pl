# Failures of the model server are retried inside the attempt: connection
# errors, timeouts, 408, 409, 429 and 5xx, as often as "retries" says, after
# the pause that the server asks for, else after about half a second. Other
# errors are not. A run that passes its timeout ends in ERROR.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url, options => ", timeout '1s'");

# name, model, status, requests
my @cases = (
	[ 'twice 500', 'flaky-2-500', 'COMPLETED', 3 ],
	[ 'once 429', 'flaky-1-429', 'COMPLETED', 2 ],
	[ 'once 408', 'flaky-1-408', 'COMPLETED', 2 ],
	[ 'once 409', 'flaky-1-409', 'COMPLETED', 2 ],
	[ 'thrice 503', 'flaky-3-503', 'ERROR', 3 ],
	[ 'drop', 'drop', 'ERROR', 3 ],
	[ 'cut', 'cut', 'ERROR', 3 ],
	[ 'timeout', 'hang', 'ERROR', 3 ],
	[ 'once 400', 'flaky-1-400', 'ERROR', 1 ],
	[ 'once 404', 'flaky-1-404', 'ERROR', 1 ],
	[ 'badjson', 'badjson', 'ERROR', 1 ],
	[ 'asked', 'after-1500-429', 'COMPLETED', 2 ],);

enqueue(@$_[ 0, 1 ]) foreach @cases;
foreach my $case (@cases)
{
	my ($name, $model, $status, $requests) = @$case;
	is(wait_run($name), $status, "$name: the run ends $status");
	is(scalar(mock_requests('mock', $name)), $requests,
		"$name: the request is sent $requests times");
	is(value("attempt FROM agno_get_run_output('$name')"),
		1,
		"$name: the run takes one attempt");
}

sub gaps
{
	my @times = map { $_->{time} } mock_requests('mock', $_[0]);
	return map { $times[$_] - $times[ $_ - 1 ] } 1 .. $#times;
}

my ($first, $second) = gaps('twice 500');
ok($first > 0.37 && $first < 5, "the first pause was $first s");
ok($second > 0.74 && $second < 10, "the second pause was $second s");
($first) = gaps('asked');
ok($first > 1.49 && $first < 6, "the server asked for 1.5 s and got $first s");

# The timeout of the run bounds everything.
enqueue('deadline', 'hang', timeout => '1.5 s');
is(wait_run('deadline'), 'ERROR',
	'a run that passes its timeout ends in ERROR');
is(value("error->>'type', content,
		finished_at - started_at BETWEEN '1.4 s' AND '10 s'
		FROM agno_get_run_output('deadline')"),
	'timeout|the run did not end within its timeout of 1.500 s|t',
	'its error is of type timeout and says so');
enqueue('patient', 'after-60000-429', timeout => '1 s');
is(wait_run('patient'), 'ERROR',
	'a run that passes its timeout while it pauses ends in ERROR');

# The server dies and comes back.
my $port = stop_mock('mock');
enqueue('outage', 'echo');
sleep 1;
start_mock('mock', '--port', $port);
is(wait_run('outage'), 'COMPLETED', 'a short outage does no harm');

$node->stop;
done_testing();
