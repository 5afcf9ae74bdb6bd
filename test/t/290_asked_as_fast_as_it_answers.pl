# A model server answers some requests a second, and says 429 to all others. It is asked about as
# fast as it answers: next to none of a backlog uses up its retries.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'), options => ", retries '2'");
make_user('app');
as('app', q(SELECT count(agno_arun('x', model => 'mock:rate-40')) FROM generate_series(1, 200) i));
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
my $answered = value(q(count(*) FROM agno.runs WHERE status = 'COMPLETED'));
my $seconds = value('extract(epoch FROM max(finished_at) - min(created_at)) FROM agno.runs');
note("$answered of 200 are answered, in $seconds s");
cmp_ok($answered, '>', 150, 'most runs are answered');
cmp_ok($seconds, '<', 30, 'in the time that it takes');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
