# A model server tells the runs of one role to wait, fast and again and again. A run of another
# role that has to ask again, with the same key, has its turn between them all the same.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $mock = start_mock('mock');
add_mock_server($mock, name => 'waits', options => ", max_concurrency '20', retries '100'");
make_user('told', 'other');
as('told', q(SELECT count(agno_arun('told', model => 'waits:after-300-429-always')) FROM generate_series(1, 100) i));
wait_until('them to be told', sub { mock_count('mock', 'told') > 10 });
as('other', qq(SELECT agno_arun('other-$_', run_id => 'other-$_', model => 'waits:flaky-1-500'))) foreach 1 .. 6;
expect_run("other-$_", { status => 'COMPLETED', attempt => 1 }, "run $_ is answered") foreach 1 .. 6;
my $longest = value(q(max(extract(epoch FROM finished_at - created_at)) FROM agno.runs WHERE run_id ~ '^other-'));

note("the longest took $longest s");
cmp_ok($longest, '<', 4, 'soon');
is(mock_count('mock', "other-$_"), 2, "run $_ has asked twice") foreach 1 .. 6;
as('told', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL));
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
