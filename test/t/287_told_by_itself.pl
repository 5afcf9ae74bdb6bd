# A model gives nothing but errors 429 for some seconds, and does not say how long to wait. Most
# of the runs that wait for it keep their retries, though other roles have answers from another
# model with the same key, and do not wait for that, whatever becomes of the others' runs.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $mock = start_mock('mock');
add_mock_server($mock, options => ", retries '2'");
make_user('many', 'other', map { "told_$_" } 1 .. 4);

# How long calls of the other role take, one after the other, for so many seconds.
sub calls_for
{
	my ($seconds) = @_;
	my $end = time + $seconds;
	my @took = sort { $a <=> $b } calls_until('other', sub { time > $end });

	note(sprintf('%d calls in %d s, median %.3f s, the longest %.3f s', scalar @took, $seconds, $took[@took / 2], $took[-1]));
	return @took;
}

as('many', q(SELECT count(agno_arun('many', run_id => 'many-' || i, model => 'mock:closed-429')) FROM generate_series(1, 200) i));
my @took = calls_for(4);
cmp_ok($took[@took / 2], '<', 0.1, 'another role does not wait');
open_gate();
wait_until('all to be over', sub { value(q(count(*) FROM agno.runs WHERE finished_at IS NULL)) == 0 });
my $lost = value(q(count(*) FROM agno.runs WHERE run_id ~ '^many-' AND status <> 'COMPLETED'));
note("$lost of 200 have used up their retries");
cmp_ok($lost, '<', 20, 'most runs are answered');

# Some roles are told so without end.
$node->safe_psql('postgres', q(ALTER SERVER mock OPTIONS (SET retries '100')));
as("told_$_", q(SELECT count(agno_arun('told', model => 'mock:status-429')) FROM generate_series(1, 100) i)) foreach 1 .. 4;
wait_until('all of them to be told', sub { mock_count('mock', 'told') > 40 });
@took = calls_for(5);
cmp_ok($took[@took / 2], '<', 0.1, 'another role calls as fast as ever');
cmp_ok($took[-1], '<', 1, 'each time');
as("told_$_", q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL)) foreach 1 .. 4;
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });

# Very many roles are, and wait before it for what the server takes a minute.
my @roles = map { "waits_$_" } 1 .. 80;
make_user(@roles);
add_mock_server($mock, name => 'paced', options => ", retries '100', requests_per_minute '1200'");
as('other', q(CALL agno_run('x', model => 'paced:echo')));
as($_, q(SELECT count(agno_arun('told', model => 'paced:status-429')) FROM generate_series(1, 20) i)) foreach @roles;
my $start = time;
as('other', q(SELECT count(agno_arun('x', run_id => 'answered-' || i, model => 'paced:echo')) FROM generate_series(1, 40) i));
wait_until('all of them to be answered', sub { value(q(count(*) FROM agno.runs WHERE run_id ~ '^answered-' AND finished_at IS NULL)) == 0 });
note(sprintf('40 runs took %.2f s', time - $start));
cmp_ok(time - $start, '<', 8, 'another role has its part of that');
as($_, q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL)) foreach @roles;
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
