# A run that waits for its turn to look up the name of its server, until its time to
# connect is over, has not tried to reach the server, nor does one that has its turn at
# the last moment: neither says anything about it. They start again, and nobody's runs
# are held back or given up. The look-up that takes a second comes from
# faults/slow_names.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', fault => 'slow_names');
my ($port) = start_mock('mock') =~ /:(\d+)/;
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER late FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://x.late.invalid:$port/v1',
			connect_timeout '2s', retries '0', unreachable_patience '1ms')));

# After a look-up that is given up, the next is not begun for four seconds.
enqueue('hasty', 'late:echo', timeout => '50 ms');
expect_run('hasty', { status => 'ERROR', "error->>'type'" => 'timeout' },
	'a run gives up in a look-up');
enqueue("run $_", 'late:echo') foreach 1 .. 3;
expect_run("run $_", { status => 'COMPLETED', error => undef },
	"run $_ completes, after more than its time to connect") foreach 1 .. 3;
is(value("bool_and(finished_at - created_at > '3s') FROM agno.runs
		WHERE run_id LIKE 'run%'"),
	't', 'they have waited for the next look-up');

$node->stop;
done_testing();
