# A server with three addresses, of which the third one is connected when the first one has
# been given up, says without end that a handshake is to begin: it is that connection which is
# cut, and others do not wait for it. The addresses come from faults/slow_names.c, the server
# is mock/late_server.py.
# Waits: for addresses to be given up.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $node = new_node('main', fault => 'slow_names');
my ($port) = start_server('late', 'late_server.py', 20) =~ /:(\d+)/;
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
add_mock_server("https://x.three.invalid:$port/v1", name => 'three', options => ", retries '0', unreachable_patience '0'");
as('other', q(CALL agno_run('x', model => 'mock:echo')));

enqueue('late', 'three:m', role => 'greedy', timeout => '60 s');
ok($node->poll_query_until('postgres', q(SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'late')), 'the run is on its way');
append_to_file("$dir/late.port.go", '');
my $start = time;
my $longest = longest_call('other', sub { value(q(finished_at IS NOT NULL FROM agno.runs WHERE run_id = 'late')) eq 't' });
my $took = time - $start;
note("others waited for $longest s, the run for $took s");
cmp_ok($longest, '<', 3, 'others do not wait for a handshake that does not end');
cmp_ok($took, '>', 5, 'which has begun at the third address');
expect_run('late', { status => 'ERROR', "error->>'type'" => 'too_large' }, 'and is cut off');

$node->stop;
done_testing();
