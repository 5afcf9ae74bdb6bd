# A node that takes connections and says nothing: its postmaster is stopped by a
# signal. PL/Proxy would wait for it without end. Calls for runs and sessions of others
# go on, those that ask every node end within connect_timeout, and so does
# agno_router_status. What must ask that node is ended by statement_timeout.
# Waits: for a node that says nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoCluster;
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

need_plproxy();
my ($router, $n1, $n2) = new_cluster(2);

make_user($_, 'app') foreach $n1, $n2, $router;
is(value($router, "string_agg(x, ',' ORDER BY x) FROM pg_foreign_server, unnest(srvoptions) x WHERE srvname = 'n2' AND x ~ 'timeout|keepalives'"),
	'connect_timeout=5,keepalives_count=2,keepalives_idle=10,keepalives_interval=5,tcp_user_timeout=10000', 'a node has time limits');
$router->safe_psql('postgres', "ALTER SERVER $_ OPTIONS (SET connect_timeout '2')") foreach 'n1', 'n2';

my $session = own_id($router, 'session', 'n1');
my $at_home = own_id($router, 'home', 'n1');
my $strange = own_id($router, 'strange', 'n2');	# the hung node has its slot, and not the run
enqueue($router, $_, 'echo', role => 'app', session_id => $session) foreach $at_home, $strange;
as($router, 'app', "SELECT status FROM agno_wait_run('$strange')");

my $postmaster = $n2->{_pid};
kill 'STOP', $postmaster or die "could not stop the postmaster: $!";

# Each in a session of its own, which has no connection yet; the bound is far below
# "without end", and above two timeouts. statement_timeout is so that the test ends.
sub in_time
{
	my ($sql, $expected, $what, $role) = @_;
	my $begun = time;
	my $got = outcome_as($router, $role // 'app', "SET statement_timeout = '30s'; $sql");
	my $took = time - $begun;

	is($got, $expected, $what);
	cmp_ok($took, '<', 12, sprintf('within %.1f s', $took));
}
in_time("SELECT status FROM agno_get_run_output('$at_home')", 'COMPLETED', 'a run of the other node is polled');
in_time("SELECT status FROM agno_get_run_output('$strange')", 'COMPLETED', 'also one whose id belongs to the node that hangs');
in_time("SELECT agno_cancel_run('$strange')", 'f', 'and cancelled');
in_time("SELECT status FROM agno_arun('x', run_id => 'new', session_id => '$session', model => 'mock:echo')", 'PENDING', 'with a run_id and a session of the other node, a run is enqueued');
in_time("SELECT status FROM agno_wait_run('new')", 'COMPLETED', 'and waited for');
in_time("SELECT agno_get_run_output('unknown')", '08006', 'an id that may be there is not told to be unknown');
in_time("SELECT string_agg(concat_ws(' ', node, reachable, problem ~ 'timeout'), ',') FROM agno_router_status()", 'n1 t,n2 f t', 'agno_router_status tells',
	value($router, 'current_user'));
in_time("SET client_min_messages = error; SELECT count(*) > 0 FROM agno.runs", 't', 'the views show what there is');

my $begun = time;
is(outcome_as($router, 'app', "SET statement_timeout = '1s'; SELECT agno_get_run_output('" . value($router, 'agno.new_id(65535)') . "')"), '57014',
	'statement_timeout ends a call for a run of the node that hangs');
cmp_ok(time - $begun, '<', 5, 'in time');

kill 'CONT', $postmaster;
$n2->poll_query_until('postgres', 'SELECT true');
is(as($router, 'app', "SELECT count(*) FROM agno_get_run_output('unknown')"), 0, 'when the node is back, it is asked');
is(value($router, 'bool_and(reachable) FROM agno_router_status()'), 't', 'and reached');

END { kill 'CONT', $postmaster if $postmaster; }
$_->stop foreach $router, $n1, $n2;
done_testing();
