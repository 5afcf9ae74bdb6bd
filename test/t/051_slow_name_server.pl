# A name server that does not answer delays nobody but the runs that need it:
# neither when they give up, nor when they are cancelled, nor a shutdown or DROP
# DATABASE; and hundreds of such runs make no hundreds of threads. The look-up
# that takes twenty seconds comes from faults/slow_names.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', fault => 'slow_names');
my $url = start_mock('mock');
my $slow = q(
	CREATE SERVER slow FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://x.slow.invalid/v1', connect_timeout '1s',
			retries '0', unreachable_patience '0'));
add_mock_server($url);
$node->safe_psql('postgres', $slow);

# The longest of the calls to a healthy server for so many seconds, in s.
sub longest_call
{
	my ($seconds) = @_;
	my $until = time + $seconds;
	my $longest = 0;

	while (time < $until)
	{
		my $start = time;
		$node->safe_psql('postgres', "CALL agno_run('x', model => 'mock:echo')");
		$longest = time - $start if time - $start > $longest;
	}
	return $longest;
}

longest_call(0.5);
my $start = time;
$node->safe_psql('postgres',
	"SELECT agno_arun('lost', model => 'slow:x', run_id => 'lost')");
my $longest = longest_call(3);
note("calls take at most $longest s");
cmp_ok($longest, '<', 1, 'others go on while a name is looked up in vain');
is(wait_run('lost'), 'ERROR',
	'a run whose server has no address ends in ERROR');
cmp_ok(time - $start, '<', 8, 'it ends when its connect_timeout has passed');
is(value("error->>'type' FROM agno.runs WHERE run_id = 'lost'"),
	'connection', 'its error says that the server could not be reached');

# Many of them
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 200) i,
		agno_arun('crowd ' || i, model => 'slow:x', run_id => 'crowd' || i)));
$longest = longest_call(2);
cmp_ok($longest, '<', 1,
	'other runs go on beside 200 whose names are looked up');
my $threads = status_of(runner_pid(), 'Threads');
note("the runner has $threads threads");
cmp_ok($threads, '<', 10, '200 such runs make few threads');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 200 FROM agno.runs
			WHERE run_id ~ '^crowd' AND status = 'ERROR'"),
	'all of these runs end in ERROR');

# Cancel
$node->safe_psql('postgres',
	"SELECT agno_arun('cancelled', model => 'slow:x', run_id => 'cancelled')");
$node->poll_query_until('postgres',
	"SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'cancelled'");
$start = time;
value("agno_cancel_run('cancelled')");
is(wait_run('cancelled'), 'CANCELLED',
	'a run whose name is looked up is cancelled');
cmp_ok(time - $start, '<', 1, 'at once');
cmp_ok(longest_call(1), '<', 1, 'other runs go on after that cancel');

# DROP DATABASE, and a stop
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', "CREATE EXTENSION agno_bg; $slow");
$node->safe_psql('other', "SELECT agno_arun('x', model => 'slow:x')");
$node->poll_query_until('other', "SELECT status = 'RUNNING' FROM agno.runs");
$start = time;
$node->safe_psql('postgres', 'DROP DATABASE other');
cmp_ok(time - $start, '<', 5, 'DROP DATABASE does not wait for a name server');
$node->safe_psql('postgres', "SELECT agno_arun('x', model => 'slow:x', run_id => 'last')");
$node->poll_query_until('postgres',
	"SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'last'");
$start = time;
$node->stop('fast');
cmp_ok(time - $start, '<', 5,
	'a fast shutdown does not wait for a name server');

done_testing();
