# A role that owns an agent is missing on a node: the node receives nothing any more, neither
# the first copy nor a change, which agno_router_status tells, and goes on by itself when
# it has the role. Fault injected: roles are created on the first node alone.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoCluster;
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_plproxy();
my $url = start_mock('mock');
my ($n1, $n2) = map { new_cluster_node("n$_->[0]", $url, conf => "agno_bg.slots = '$_->[1]'\n") } [ 1, '0-32767' ], [ 2, '32768-65535' ];
my $router = new_router('router');

add_node($router, $n1);
make_user($n1, 'first', 'second');
as($n1, 'first', q(INSERT INTO agno.agents (agent_id, model) VALUES ('a', 'mock:echo')));
add_node($router, $n2);

my $problem = "coalesce(problem, '') = 'agents and tools are not replicated: see its log' FROM agno_router_status() WHERE node = 'n2'";
sub missing
{
	my ($role, $when, $before) = @_;
	wait_until('an error', sub { logged($n2, qr/role "$role" does not exist/) });
	ok($router->poll_query_until('postgres', "SELECT $problem"), "a role that is missing $when is told of");
	is(value($n2, 'count(*) FROM agno.agents'), $before, 'nothing arrives');
	$n2->safe_psql('postgres', "CREATE ROLE $role");
	ok($n2->poll_query_until('postgres', 'SELECT count(*) = ' . ($before + 1) . ' FROM agno.agents'), 'until it is there');
	ok($router->poll_query_until('postgres', "SELECT NOT $problem"), 'and all is well');
}
missing('first', 'when the node is added', 0);
as($n1, 'second', q(INSERT INTO agno.agents (agent_id, model) VALUES ('b', 'mock:echo')));
missing('second', 'later', 1);

$_->stop foreach $router, $n1, $n2;
done_testing();
