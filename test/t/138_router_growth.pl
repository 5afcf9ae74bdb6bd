# Two nodes become three while runs are enqueued: a standby of the second is promoted and
# takes over the upper half of its slots, as doc/scale.md says. No run is lost or
# executed on both, sessions that move go on where they were, and a client that
# repeats what failed meanwhile has each of its runs once.

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
as($router, 'app', q(INSERT INTO agno.agents (agent_id, model, add_history_to_context) VALUES ('a', 'mock:echo', true)));
$n2->poll_query_until('postgres', 'SELECT count(*) = 1 FROM agno.agents');

# Sessions of the slots of each of the three nodes-to-be.
sub session_of
{
	my ($first, $last, $name) = @_;
	return value($router, "id FROM (SELECT '$name-' || i AS id FROM generate_series(1, 5000) i) s WHERE agno_slot(id) BETWEEN $first AND $last LIMIT 1");
}
my %session = (first => session_of(0, 32767, 'a'), stays => session_of(32768, 49151, 'b'), moves => session_of(49152, 65535, 'c'));
my %home = (first => 'n1', stays => 'n2', moves => 'n3');

# What is there beforehand
foreach my $name (sort keys %session)
{
	as($router, 'app', "SELECT agno_arun('before $name', 'a', session_id => '$session{$name}', run_id => 'before-$name')");
	as($router, 'app', "SELECT agno_wait_run('before-$name')");
	as($router, 'app', "SELECT agno_arun('x', session_id => '$session{$name}/later', run_id => 'later-$name', model => 'mock:echo', run_at => now() + '1 day')");
}

#-------------------------------------------------------------------------
# Clients
#-------------------------------------------------------------------------

my @clients;
foreach my $name (sort keys %session)
{
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";
	my %client = (name => $name, said => '');

	append_to_file($file, join '', map { qq(
DO \$\$
BEGIN
	PERFORM agno_arun('while $name $_', 'a', session_id => '$session{$name}', run_id => 'while-$name-$_');
EXCEPTION WHEN unique_violation THEN
	NULL;
WHEN OTHERS THEN
	RAISE;
END \$\$;
\\if :ERROR
\\echo again
\\endif
SELECT pg_sleep(0.02);
) } 1 .. 200);
	$client{process} = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $router->connstr('postgres'), '-f', $file ],
		'<', '/dev/null', '>', \$client{out}, '2>', \$client{said});
	push @clients, \%client;
}
wait_until('some runs', sub { value($n2, "count(*) FROM agno.runs WHERE run_id LIKE 'while%'") > 20 });

#-------------------------------------------------------------------------
# The procedure
#-------------------------------------------------------------------------

# 1. A standby of the node, which will not execute anything when it is promoted.
my $n3 = PostgreSQL::Test::Cluster->new('n3');
$n2->backup('for_n3');
$n3->init_from_backup($n2, 'for_n3', has_streaming => 1);
$n3->append_conf('postgresql.auto.conf', "agno_bg.paused = on\nagno_bg.max_tool_workers = 0\nagno_bg.slots = '49152-65535'\n");
$n3->start;
$n2->wait_for_catchup('n3');

# 2. The node will not execute anything either when it is started again.
$n2->safe_psql('postgres', "ALTER SUBSCRIPTION agno_router DISABLE");
$n2->safe_psql('postgres', "ALTER SYSTEM SET $_") foreach "agno_bg.paused = on", 'agno_bg.max_tool_workers = 0', "agno_bg.slots = '32768-49151'";

# 3. It is stopped, so that the standby has all of it; the standby is promoted.
my $since = time;
$n2->stop('fast');
$n3->promote;

# 4. The router is told; what moves is enqueued again.
$router->safe_psql('postgres', "SELECT agno_router_add_node('n3', '" . $n3->connstr('postgres') =~ s/'/''/gr . "', split => 'n2')");
my $moved = time - $since;
is(value($n3, "agno_bg.x FROM (SELECT string_agg(subslotname, ',') AS x FROM pg_subscription) agno_bg"), 'agno_n3', 'it receives agents for itself');

# 5. The node is started; each forgets what is the other's, and goes on.
$n2->start;
my $stayed = time - $since;
$n2->safe_psql('postgres', 'ALTER SUBSCRIPTION agno_router ENABLE');
cmp_ok(value($n3, 'agno.keep_slots(49152, 65535)'), '>', 1, 'the new node forgets what stays');
cmp_ok(value($n2, 'agno.keep_slots(32768, 49151)'), '>', 1, 'the other one what has moved');
$n2->safe_psql('postgres', "ALTER SYSTEM RESET agno_bg.$_") foreach 'paused', 'max_tool_workers';
$n3->safe_psql('postgres', "ALTER SYSTEM SET agno_bg.$_") foreach 'paused = off', 'max_tool_workers = 4';
$_->reload foreach $n2, $n3;
note(sprintf('%.2f s without service for sessions that move, %.2f s for those that stay', $moved, $stayed));

#-------------------------------------------------------------------------
# What has become of it
#-------------------------------------------------------------------------

$_->{process}->finish foreach @clients;
is(value($router, "string_agg(concat_ws(' ', node, first_slot, last_slot, problem), ',' ORDER BY node) FROM agno_router_status()"),
	'n1 0 32767,n2 32768 49151,n3 49152 65535', 'there are three nodes');
is($clients[0]{said}, '', 'the client of the first node has noticed nothing');
foreach my $client (@clients)
{
	my $name = $client->{name};
	my $failed = () = $client->{said} =~ /ERROR/g;

	# what failed is repeated
	as($router, 'app', qq(DO \$\$ BEGIN
		FOR i IN 1 .. 200 LOOP
			BEGIN
				PERFORM agno_arun('while $name ' || i, 'a', session_id => '$session{$name}', run_id => 'while-$name-' || i);
			EXCEPTION WHEN unique_violation THEN
			END;
		END LOOP;
	END \$\$));
	ok($router->poll_query_until('postgres', "SELECT count(*) = 200 FROM agno.runs WHERE run_id LIKE 'while-$name-%' AND status = 'COMPLETED' AND node = '$home{$name}'"),
		"$name: 200 runs complete, after $failed errors");
	is(value($router, "count(*) FROM agno.runs WHERE session_id LIKE '$session{$name}%' AND node <> '$home{$name}'"), 0, "$name: none of its runs is elsewhere");
	is(as($router, 'app', "SELECT status || ' ' || node FROM agno_get_run_output('before-$name')"), "COMPLETED $home{$name}", "$name: earlier runs are found");
	is(as($router, 'app', "SELECT agno_cancel_run('later-$name')"), 't', "$name: a run that waits is cancelled");
	is(as($router, 'app', "SELECT status FROM agno_wait_run('later-$name')"), 'CANCELLED', "$name: and is");
	as($router, 'app', "SELECT agno_arun('after', 'a', session_id => '$session{$name}', run_id => 'after-$name')");
	is(as($router, 'app', "SELECT (messages->0->>'content') || ' ' || (SELECT count(*) FROM agno.sessions WHERE session_id = '$session{$name}') FROM agno_wait_run('after-$name')") =~ /while $name \d+ 1/ ? 1 : 0,
		1, "$name: its history goes on");
}
my %requests;
$requests{ $_->{body}{input}[-1]{content} }++ foreach mock_requests('mock');
my @twice = grep { /^while / && $requests{$_} > 1 } keys %requests;
# A run that was in flight when its node stopped is sent again, and that is no attempt: one
# of each of the two sessions of n2.
cmp_ok(scalar(@twice), '<=', value($router, "count(*) FROM agno.runs WHERE run_id LIKE 'while%' AND attempt > 1") + 2, 'no run was executed on both');
is(outcome($n2, "SELECT agno_arun('x', session_id => '$session{moves}', model => 'mock:echo')"), '55000', 'a router that has not heard of it cannot enqueue where a session was');
as($router, 'app', q(UPDATE agno.agents SET name = 'new'));
ok($_->poll_query_until('postgres', "SELECT count(*) = 1 FROM agno.agents WHERE name = 'new'"), 'agents are on ' . $_->name) foreach $n1, $n2, $n3;

$_->stop foreach $router, $n1, $n2, $n3;
done_testing();
