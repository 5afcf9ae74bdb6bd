# A model server tells the runs of one role to wait, fast and again and again. A run of another
# role that has to ask again, with the same key, has its turn between them all the same. Or it
# does not say how long they are to wait: not as long as one of them does.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

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

# Nor does a run forget that it has an answer, which does not fit, and asks for all anew.
as('other', qq(SELECT agno_arun('misfit-$_', run_id => 'misfit-$_', model => 'waits:misfit-1',
	output_schema => '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'))) foreach 1 .. 5;
expect_run("misfit-$_", { status => 'COMPLETED', attempt => 1 }, "run $_ is corrected") foreach 1 .. 5;
is(mock_count('mock', "misfit-$_"), 2, "run $_ has asked twice") foreach 1 .. 5;
as('told', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL));
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });

# One run is told so with ever longer pauses of its own, as the server does not say how long.
enqueue('unsaid', 'waits:status-429', role => 'told');
wait_until('its pauses to be long', sub { mock_count('mock', 'unsaid') >= 5 });
my @took = map {
	my $start = time;

	as('other', q(CALL agno_run('x', model => 'waits:echo')));
	time - $start
} 1 .. 20;
note(sprintf('the longest took %.2f s', max(@took)));
cmp_ok(max(@took), '<', 2, 'others with the key do not wait for that');
as('told', q(SELECT agno_cancel_run('unsaid')));
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
