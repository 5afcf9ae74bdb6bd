# A role fills the table of locks: the runs of others wait for that, and none fails, however
# large its answer is.
# Fault injected: a session takes locks until there are none left.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my ($runs, $node) = (12, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
close_gate();
as('boss', "SELECT count(agno_arun(repeat('x', 1500000), model => 'mock:gate')) FROM generate_series(1, $runs)");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'RUNNING'"), 'runs wait for large answers');
my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
$session->query('SELECT count(pg_advisory_lock(i)) FROM generate_series(1, 10000000) i');
open_gate();
my $deadline = time + 60;
select undef, undef, undef, 0.05 until logged(qr/agno_bg runner ERROR:  out of shared memory/) || time > $deadline;
ok(logged(qr/agno_bg runner ERROR:  out of shared memory/), 'a role has taken all locks, the runner finds none');
# The runner is to have tried in vain, several times: nobody else can look at it meanwhile.
sleep 2;
$session->quit;
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM agno.run_queue)'), 'all runs end once there are locks again');
is(value(q(string_agg(DISTINCT status::text, ' ') FROM agno.runs)), 'COMPLETED', 'and well');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
