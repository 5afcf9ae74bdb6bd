# A role has very many runs that are due at the same time: those of others, which are due a
# moment later, do not wait for them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (20000, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
configure(paused => 'on');
as('app', "SELECT count(agno_arun('x', model => 'mock:echo', run_at => now() + interval '1 min')) FROM generate_series(1, $runs)");
as('boss', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'boss', run_at => now() + interval '2 min')));
# The time has come.
$node->safe_psql('postgres', q(UPDATE agno.run_queue SET run_at = now() - interval '2 s';
	UPDATE agno.run_queue SET run_at = now() - interval '1 s' WHERE run_id = 'boss'));
configure(paused => 'off');
my ($status, $left) = split /\n/, $node->safe_psql('postgres', q(SELECT status FROM agno_wait_run('boss', '60 s');
	SELECT count(*) FROM agno.run_queue WHERE state = 's'));
is($status, 'COMPLETED', 'one of another role is COMPLETED');
note($left);
cmp_ok($left, '>', $runs / 2, 'while most of them wait still');
$node->safe_psql('postgres', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs));
$node->stop('immediate');
done_testing();
