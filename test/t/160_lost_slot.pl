# The replication slot by which a node follows is lost: agno_router_status says so, and
# agno.replicate_agents makes another and copies all agents. A slot of that name that
# another database has is told of, and left alone. A node that follows goes on to where
# another slot, or its own tables, cannot be had. Faults injected: a node does not
# follow for longer than max_slot_wal_keep_size allows; nodes are restored from copies of
# their files; transactions are left open.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoCluster;
use AgnoTest;
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_plproxy();
my ($router, $n1, $n2) = new_cluster(2, conf => "max_slot_wal_keep_size = 1MB\nmin_wal_size = 32MB\nmax_wal_size = 32MB\n");

make_user($_, 'app') foreach $n1, $n2, $router;
$router->safe_psql('postgres', q(INSERT INTO agno.agents (agent_id, model) VALUES ('a', 'mock:echo'), ('b', 'mock:echo')));
sub agents { return $n2->poll_query_until('postgres', "SELECT string_agg(agent_id, ',' ORDER BY agent_id) = '$_[0]' FROM agno.agents"); }
ok(agents('a,b'), 'agents are replicated');

sub replicate { my ($name) = @_; my ($ret, $out, $err) = $router->psql('postgres', "SELECT agno.replicate_agents('" . ($name // 'n2') . "')"); return $err; }

# Lost
$n2->safe_psql('postgres', 'ALTER SUBSCRIPTION agno_router DISABLE');
$n1->poll_query_until('postgres', 'SELECT NOT active FROM pg_replication_slots');
$router->safe_psql('postgres', q(INSERT INTO agno.agents (agent_id, model) VALUES ('c', 'mock:echo')));
wait_until('the slot to be lost', sub {
	$n1->safe_psql('postgres', 'SELECT pg_switch_wal() FROM (SELECT pg_logical_emit_message(true, $$x$$, $$y$$)) x; CHECKPOINT');
	value($n1, 'wal_status FROM pg_replication_slots') eq 'lost';
});
is(value($router, "string_agg(concat_ws(' ', node, problem), ',') FROM agno_router_status()"),
	'n1 lost replication slots: agno_n2,n2 agents and tools are not replicated: see its log', 'agno_router_status says that a slot is lost');
is(replicate(), '', 'it is made anew');
ok(agents('a,b,c'), 'and all agents are copied');
is(value($router, "string_agg(concat_ws(' ', node, agents, problem), ',') FROM agno_router_status()"), 'n1 publisher,n2 subscriber', 'all is well');
$router->safe_psql('postgres', q(DELETE FROM agno.agents WHERE agent_id = 'a'));
ok(agents('b,c'), 'changes arrive');
is(replicate(), '', 'what works may be begun anew');
ok(agents('b,c'), 'with all agents');

# Restored from a backup of its files, a node has other agents than the first one, and no
# process says so. No copy of a table is to be under way when its files are copied.
sub keep { my ($node) = @_; $n1->poll_query_until('postgres', q(SELECT string_agg(slot_name, ',') = 'agno_n2' FROM pg_replication_slots)); $node->stop; system_or_bail('cp', '-a', $node->data_dir, $node->data_dir . '.old'); $node->start; return; }
sub restore { my ($node) = @_; $node->stop; rmtree($node->data_dir); rename $node->data_dir . '.old', $node->data_dir or die $!; $node->start; return; }
sub told
{
	my ($name) = @_;
	ok($router->poll_query_until('postgres', "SELECT string_agg(concat_ws(' ', node, agents, problem), ',') = 'n1 publisher,n2 subscriber agents and tools are not those of the first node' FROM agno_router_status()"),
		"$name: agno_router_status says that they differ");
	is(replicate(), '', "$name: n2 is made anew");
	ok($router->poll_query_until('postgres', q(SELECT count(problem) = 0 FROM agno_router_status())), "$name: all is well");
}
sub insert { my ($id) = @_; $router->safe_psql('postgres', "INSERT INTO agno.agents (agent_id, model) VALUES ('$id', 'mock:echo')"); return; }
keep($n2);
insert('e');
ok(agents('b,c,e'), 'an agent arrives');
restore($n2);
ok(agents('b,c'), 'n2 is restored');
told('n2 restored');
ok(agents('b,c,e'), 'it has that agent again');
keep($n1);
insert("f$_") foreach 1 .. 3;
ok(agents('b,c,e,f1,f2,f3'), 'agents arrive');
restore($n1);
$router->safe_psql('postgres', q(DELETE FROM agno.agents WHERE agent_id = 'e'));
told('n1 restored');
ok(agents('b,c'), 'all have the agents of the first node');

# A transaction of any database that has written is in the way of a slot, one that has
# written agents on the node in the way of a new copy: either is found out before.
$n1->safe_psql('postgres', q(CREATE DATABASE elsewhere; ALTER FUNCTION agno.publish_agents SET lock_timeout = '1s'));
my $open = $n1->background_psql('elsewhere');
$open->query('BEGIN; SELECT pg_current_xact_id()');
my $said = replicate();
like($said, qr/node "n2" could not be made to receive agents and tools\nDETAIL:.*lock timeout\n.*have written/, 'an open transaction is in the way of a slot');
like($said, qr/HINT:.*pg_stat_activity \(backend_xid\)/, 'and can be found');
$router->safe_psql('postgres', q(INSERT INTO agno.agents (agent_id, model) VALUES ('d', 'mock:echo')));
ok(agents('b,c,d'), 'the node follows as before');
is(value($n1, "string_agg(slot_name, ',') FROM pg_replication_slots"), 'agno_n2', 'by its slot');
$open->query('COMMIT');
$open->quit;
$n2->safe_psql('postgres', "ALTER FUNCTION agno.${_}follow_agents SET lock_timeout = '1s'") foreach '', 'un';
$open = $n2->background_psql('postgres');
$open->query('BEGIN; LOCK TABLE agno.tools IN ROW EXCLUSIVE MODE');
like(replicate(), qr/DETAIL:.*lock timeout\n.*use agno.agents/, 'so is one on the node');
$router->safe_psql('postgres', q(DELETE FROM agno.agents WHERE agent_id = 'd'));
ok(agents('b,c'), 'which follows as before');
$open->query('COMMIT');
$open->quit;
is(replicate(), '', 'without them, all is made anew');
ok(agents('b,c'), 'with all agents');
$n1->safe_psql('postgres', 'DROP DATABASE elsewhere');

# What fails halfway is told of: a node that follows no more is better than one that has missed something.
$n2->safe_psql('postgres', q(CREATE ROLE owner; GRANT CREATE ON SCHEMA public TO owner; GRANT REFERENCES ON agno.agents TO owner;
	SET ROLE owner; CREATE TABLE public.refers (agent_id text REFERENCES agno.agents)));
like(replicate(), qr/node "n2" could not be made to receive agents and tools\nDETAIL:.*table public.refers refers to tables of agno_bg/, 'a table of a role is in the way');
like(value($router, "concat_ws(' ', agents, problem) FROM agno_router_status() WHERE node = 'n2'"), qr/^none agents and tools are not replicated/, 'which agno_router_status says');
$n2->safe_psql('postgres', 'DROP TABLE public.refers');
is(replicate(), '', 'without it, it is done');
ok(agents('b,c'), 'and agents arrive');

# The other way round
like(replicate('n1'), qr/ERROR:.*node "n1" is the one on which agents are written/, 'the first node follows nobody');
is(outcome($n1, "SELECT agno.follow_agents('" . $n1->connstr('postgres') =~ s/'/''/gr . "', '$_')"), '55000', "and not itself: $_") foreach 'agno_n1', 'agno_n2';
wait_copied($n2);
$n2->stop;
$n1->poll_query_until('postgres', 'SELECT NOT active FROM pg_replication_slots');
is(outcome($n1, "SELECT agno.follow_agents('" . $n1->connstr('postgres') =~ s/'/''/gr . "', 'another')"), '55000', 'nor another while others are away');
is(value($n1, 'count(*) FROM agno.agents'), 2, 'it has its agents');
$n2->start;
ok(agents('b,c'), 'and so have others');

# Of another database
wait_copied($n2);
value($n2, 'agno.unfollow_agents()');
$n1->poll_query_until('postgres', 'SELECT NOT active FROM pg_replication_slots');
$n1->safe_psql('postgres', 'SELECT pg_drop_replication_slot($$agno_n2$$); CREATE DATABASE other');
$n1->safe_psql('other', 'SELECT pg_create_logical_replication_slot($$agno_n2$$, $$pgoutput$$)');
like(replicate(), qr/DETAIL:.*replication slot "agno_n2" is not of this database/, 'a slot of another database is not taken');
is(value($n1, 'database FROM pg_replication_slots'), 'other', 'nor dropped');
$n1->safe_psql('postgres', 'SELECT pg_drop_replication_slot($$agno_n2$$)');

# A publication that a role has made on a node that follows
$n2->safe_psql('postgres', q(GRANT CREATE ON DATABASE postgres TO owner; SET ROLE owner; CREATE TABLE public.p (i integer); CREATE PUBLICATION agno_router FOR TABLE public.p));
is(value($router, "concat_ws(' ', reachable, agents, problem) FROM agno_router_status() WHERE node = 'n2'"),
	't none agents and tools are not replicated: see its log; publication "agno_router" is not that of agno_bg', "another role's publication is told of");
is(replicate(), '', 'and dropped');
ok(agents('b,c'), 'agents arrive');

$_->stop foreach $router, $n1, $n2;
done_testing();
