# One role has thousands of runs locked when they come due: what of others could not be
# had for a moment is looked at in turn with them, not after all of them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my ($locked, $node) = (20000, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
as('app', "SELECT count(agno_arun('x', model => 'mock:echo', run_id => 'l' || i, run_at => now() + interval '1 hour')) FROM generate_series(1, $locked) i");
my $session = $node->background_psql('postgres');
$session->query_safe("SET ROLE app; BEGIN; SELECT count(agno_cancel_run('l' || i)) FROM generate_series(1, $locked) i");
$node->safe_psql('postgres', q(UPDATE agno.run_queue SET run_at = now() WHERE run_at > now()));
as('boss', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'b', run_at => now() + interval '1 s')));
my $other = $node->background_psql('postgres');
$other->query_safe(q(SET ROLE boss; BEGIN; SELECT agno_cancel_run('b')));
$node->safe_psql('postgres', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'wakes')));
ok($node->poll_query_until('postgres', "SELECT count(*) > $locked FROM agno.run_queue WHERE state = 'k'"), 'nothing of that can be had');
$other->query_safe('ROLLBACK');
my $start = time;
expect_run('b', { status => 'COMPLETED' }, 'what has been let go of ends');
cmp_ok(time - $start, '<', 5, 'in its turn');
cmp_ok(value(q(count(*) FROM agno.run_queue WHERE state = 'k')), '>=', $locked, 'while the others are as they were');
$session->query_safe('ROLLBACK');
$_->quit foreach $session, $other;
$node->stop;
done_testing();
