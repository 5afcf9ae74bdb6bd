# A model server takes so many requests a minute. Its answers do not fit their schema: the second
# request of each run counts, and those that start later wait for it. So do requests of runs that
# are cancelled before they are answered, and those that do not reach the server.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $mock = start_mock('mock');
add_mock_server($mock, name => 'paced', options => ", requests_per_minute '120'");
my $began = time;
$node->safe_psql('postgres', q(SELECT agno_arun('misfits', model => 'paced:misfit-1',
	output_schema => '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}')
	FROM generate_series(1, 6)));
wait_until('all to be over', sub { value("count(*) = 6 FROM agno.runs WHERE status = 'COMPLETED'") eq 't' });
my $seconds = time - $began;
my $requests = mock_count('mock', 'misfits');

note(sprintf('%d requests in %.2f s', $requests, $seconds));
is($requests, 12, 'each run has asked twice');
cmp_ok($requests, '<=', 2 * $seconds + 3, 'there are no more requests than that');

# Each is cancelled as soon as it has been sent.
$node->safe_psql('postgres', q(SELECT agno_arun('hangs', model => 'paced:hang') FROM generate_series(1, 100)));
$began = time;
$node->safe_psql('postgres', q(SELECT agno_cancel_run(run_id) FROM agno.runs WHERE status = 'RUNNING')) while time < $began + 4;
$requests = mock_count('mock', 'hangs');
$seconds = time - $began;
note(sprintf('%d requests in %.2f s', $requests, $seconds));
cmp_ok($requests, '>=', 5, 'runs go on');
cmp_ok($requests, '<=', 2 * $seconds + 3, 'those that are cancelled count, too');

# There is no server, and nobody waits for it.
add_mock_server('http://127.0.0.1:1/v1', name => 'absent', options => ", requests_per_minute '120', retries '0', unreachable_patience '0'");
$node->safe_psql('postgres', q(SELECT agno_arun('x', model => 'absent:echo') FROM generate_series(1, 100)));
$began = time;
wait_until('some to have failed', sub { value(q(count(*) >= 8 FROM agno.runs WHERE status = 'ERROR')) eq 't' });
my $failed = value(q(count(*) FROM agno.runs WHERE status = 'ERROR'));
$seconds = time - $began;
note(sprintf('%d attempts in %.2f s', $failed, $seconds));
cmp_ok($failed, '<=', 2 * $seconds + 3, 'those that fail count, too');

$node->stop;
done_testing();
