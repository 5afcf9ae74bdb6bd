# A role that gives up while it looks up the name of a server has nobody else wait: who
# may define a server can name that of another, and have no look-up of it end. The
# look-up that takes a second comes from faults/slow_names.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', fault => 'slow_names');
my ($port) = start_mock('mock') =~ /:(\d+)/;
make_user('greedy', 'other');
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER good FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://x.late.invalid:$port/v1');
	GRANT USAGE ON FOREIGN SERVER good TO other;
	GRANT USAGE ON FOREIGN DATA WRAPPER agno_bg TO greedy));
as('greedy', qq(
	CREATE SERVER same FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://x.late.invalid:$port/v1', retries '0',
			unreachable_patience '0')));

enqueue('hasty', 'same:echo', role => 'greedy', timeout => '50 ms');
expect_run('hasty', { status => 'ERROR', "error->>'type'" => 'timeout' },
	'a run gives up while the name of its server is looked up');
enqueue('next', 'same:echo', role => 'greedy');
my $start = time;
enqueue('other', 'good:echo', role => 'other');
expect_run('other', { status => 'COMPLETED' },
	'a run of another role completes');
my $seconds = time - $start;
note("it took $seconds s");
cmp_ok($seconds, '<', 3, 'it waits for its own look-up only');
expect_run('next', { status => 'COMPLETED' },
	'the next run of that role completes, too');

$node->stop;
done_testing();
