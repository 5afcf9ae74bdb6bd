# A role has many responses that its model server works on, and asks for each again and again. The
# answers to that say nothing about whether more may be asked of the server: another model, which
# answers some requests a second and says 429 to all others, is asked no faster.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('main');
add_mock_server(start_mock('mock'), options => ", retries '100'");
make_user('app');
as('app', q(SELECT count(agno_arun('work', model => 'mock:work-600000', model_options => '{"background": true}')) FROM generate_series(1, 300) i));
wait_until('the server to work on all', sub { mock_count('mock', 'work') >= 300 });

as('app', q(SELECT count(agno_arun('asked', model => 'mock:rate-20')) FROM generate_series(1, 300) i));
wait_until('all to be told', sub { mock_count('mock', 'asked') > 300 });
my $before = mock_count('mock', 'asked');
my $start = time;
sleep(0.05) while time < $start + 4;
my $each_second = (mock_count('mock', 'asked') - $before) / (time - $start);
note("it is asked $each_second times a second");
cmp_ok($each_second, '<', 60, 'the server is asked not much faster than it answers');
as('app', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL));
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
