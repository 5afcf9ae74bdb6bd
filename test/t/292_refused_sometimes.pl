# The model of a role answers some requests a second, and says 429 to all others. Other roles with
# the same key are told 429 and nothing else, without end: that does not make its runs slower than
# they are without them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time sleep);

my @others = map { "told_$_" } 1 .. 6;
my $node = new_node('main');
add_mock_server(start_mock('mock'), options => ", retries '100'");
make_user('app', @others);

# How many runs of the role are answered in so many seconds.
sub answered_in
{
	my ($seconds, $name) = @_;
	my $end = time + $seconds;

	as('app', qq(SELECT count(agno_arun('x', run_id => '$name-' || i, model => 'mock:rate-20')) FROM generate_series(1, 300) i));
	sleep(0.05) while time < $end;
	my $answered = value(qq(count(*) FROM agno.runs WHERE run_id ~ '^$name-' AND status = 'COMPLETED'));
	note("$name: $answered runs are answered in $seconds s");
	as('app', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL));
	return $answered;
}

my $alone = answered_in(8, 'alone');
as($_, q(SELECT count(agno_arun('told', model => 'mock:status-429')) FROM generate_series(1, 100) i)) foreach @others;
wait_until('all of them to be told', sub { mock_count('mock', 'told') > 20 });
my $beside = answered_in(8, 'beside');
cmp_ok($beside, '>', $alone / 2, 'as many as without the others');
as($_, q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL)) foreach @others;
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
