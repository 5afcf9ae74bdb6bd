# A router that is lost, without a dump, is set up anew while the nodes have sessions: each
# node tells its slots by agno_bg.slots. What does not is refused, and
# agno_router_status tells which node has not been told its slots.

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
my ($n1, $n2, $n3) = map { new_cluster_node("n$_", $url) } 1 .. 3;
my $router = new_router('router');

add_node($router, $n1);
is(value($router, 'problem IS NULL FROM agno_router_status()'), 't', 'one node has all slots');

# Somebody writes while a node is added.
my $script = "$PostgreSQL::Test::Utils::tmp_check/busy.sql";
$n1->safe_psql('postgres', 'CREATE TABLE public.busy (i integer)');
append_to_file($script, "INSERT INTO public.busy VALUES (1);\n");
my $busy = IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-T', '600', '-f', $script, $n1->connstr('postgres') ], '<', '/dev/null', '>', \my $out, '2>', \my $err);
$n1->poll_query_until('postgres', 'SELECT count(*) > 100 FROM public.busy');
add_node($router, $n2);
wait_copied($n2);
$busy->signal('TERM');
eval { $busy->finish };
is(logged($n2, qr/publication "agno_router" does not exist/), 0, 'a node is added while somebody writes');
my $problems = "string_agg(concat_ws(' ', node, first_slot, last_slot, agents, problem), ',') FROM agno_router_status()";
is(value($router, $problems), 'n1 0 32767 publisher agno_bg.slots is 0-65535,n2 32768 65535 subscriber agno_bg.slots is 0-65535', 'of two, each has to know its slots');

# Told otherwise than they are divided, as after a split
$n1->safe_psql('postgres', "ALTER SYSTEM SET agno_bg.slots = '0-49151'");
$n2->safe_psql('postgres', "ALTER SYSTEM SET agno_bg.slots = '49152-65535'");
$router->safe_psql('postgres', "UPDATE agno.nodes SET last_slot = 49151 WHERE node = 'n1'; UPDATE agno.nodes SET first_slot = 49152 WHERE node = 'n2'; SELECT agno.attach_enqueue()");
$_->reload foreach $n1, $n2;
ok($router->poll_query_until('postgres', "SELECT count(problem) = 0 FROM agno_router_status()"), 'nodes know their slots');
make_user($_, 'app') foreach $n1, $n2, $n3, $router;
as($router, 'app', q(INSERT INTO agno.agents (agent_id, model) VALUES ('a', 'mock:echo')));
$n2->poll_query_until('postgres', 'SELECT count(*) = 1 FROM agno.agents');
my @runs = map { as($router, 'app', "SELECT run_id FROM agno_arun('x', 'a', session_id => 's$_')") } 1 .. 20;
$router->stop;

my $anew = new_router('anew');
sub add { my ($node) = @_; return outcome($anew, "SELECT agno_router_add_node('" . $node->name . "', '" . $node->connstr('postgres') =~ s/'/''/gr . "')"); }
is(add($n2), '55000', 'a node that follows another is not the first');
is(add($n1), '', 'the one that is followed is');
is(value($anew, $problems), 'n1 0 49151 publisher slots 49152-65535 after it are those of no node', 'slots without a node are told of');
is(outcome($anew, "SELECT agno.node_of(agno.new_id(49152))"), '55000', 'and their sessions are looked for on no other');
is(outcome($anew, "SELECT agno.node_of(agno.new_id(49151))"), 'n1', 'as those of the node are');
is(add($n3), '55000', 'what has no slots of its own is not added');
$n3->safe_psql('postgres', "ALTER SYSTEM SET agno_bg.slots = '40000-50000'");
$n3->reload;
is(add($n3), '55000', 'nor with slots of another node');
is(add($n2), '', 'the other node is');
is(value($anew, $problems), 'n1 0 49151 publisher,n2 49152 65535 subscriber', 'each has its slots');
$anew->safe_psql('postgres', 'CREATE ROLE app LOGIN; SELECT agno_grant_usage($$app$$)');
my $list = join ',', @runs;
is(as($anew, 'app', "SELECT count(*) FROM unnest('{$list}'::text[]) i, agno_wait_run(i)"), 20, 'every run is found');
is(as($anew, 'app', "SELECT count(DISTINCT node) FROM agno.runs"), 2, 'on both nodes');
is(as($anew, 'app', "SELECT count(*) FROM generate_series(1, 20) i, agno_arun('x', 'a', session_id => 's' || i)"), 20, 'sessions go on');
is(as($anew, 'app', "SELECT count(*) FROM generate_series(1, 20) i, agno_arun('x', 'a')"), 20, 'and new ones are opened');
is(value($n2, 'count(*) FROM agno.agents'), 1, 'agents have stayed');

$_->stop foreach $anew, $n1, $n2, $n3;
done_testing();
