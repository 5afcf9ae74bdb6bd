# A node is lost. The router's connection string names its standby as well, and finds it
# when it has been promoted. With a synchronous standby, every run that was acknowledged
# is there and completes; clients of the other node notice nothing. With an
# asynchronous one, what was committed and not yet sent is lost, and no more.

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
my $url = start_mock('mock');
my ($n1, $n2) = map { new_cluster_node("n$_", $url) } 1, 2;
my $router = new_router('router');

make_user($_, 'app') foreach $n1, $n2, $router;

# A standby of a server; the connection string for both.
sub new_standby
{
	my ($name, $of) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$of->backup("for_$name");
	$standby->init_from_backup($of, "for_$name", has_streaming => 1);
	$standby->start;
	$of->wait_for_catchup($name);
	return $standby;
}
sub both
{
	my ($first, $second) = @_;
	return sprintf("host=%s,%s port=%s,%s dbname=postgres target_session_attrs=read-write connect_timeout=2",
		$first->host, $second->host, $first->port, $second->port);
}
sub synchronous
{
	my ($node, $names) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = '$names'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'") if $names;
}

my $s1 = new_standby('s1', $n1);
synchronous($n1, 's1');
add_node($router, $n1, both($n1, $s1));
add_node($router, $n2);
set_slots($router, $n1, $n2);
$s1->append_conf('postgresql.conf', "agno_bg.slots = '0-32767'\n");
$s1->reload;
is(value($router, "string_agg(concat_ws(' ', node, reachable, problem), ',' ORDER BY node) FROM agno_router_status()"), 'n1 t,n2 t', 'a node with a synchronous standby');

# Clients, each with a session, that enqueue and go on when something fails. Each says
# which runs were acknowledged, and when.
my %session = map { $_ => own_id($router, 'session', $_) } 'n1', 'n2';
sub start_client
{
	my ($name, $prefix, $count) = @_;
	my ($file, %client) = ("$PostgreSQL::Test::Utils::tmp_check/$prefix.sql");

	append_to_file($file, join '', map {
			"SELECT run_id || ' ' || extract(epoch FROM clock_timestamp()) FROM agno_arun('x', run_id => '$prefix-$_', session_id => '$session{$name}', model => 'mock:slow-20');\n"
			  . "SELECT FROM pg_sleep(0.01);\n"
		} 1 .. $count);
	@client{qw(out err)} = ('', '');
	$client{process} = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $router->connstr('postgres'), '-f', $file ],
		'<', '/dev/null', '>', \$client{out}, '2>', \$client{err});
	return \%client;
}
# The runs that were acknowledged, and the longest time without one.
sub acknowledged
{
	my ($client) = @_;
	my ($last, $pause, @ids) = (undef, 0);

	foreach (grep { / / } split /\n/, $client->{out})
	{
		my ($id, $when) = split / /;
		push @ids, $id;
		$pause = $when - $last if defined $last && $when - $last > $pause;
		$last = $when;
	}
	return ($pause, @ids);
}

#-------------------------------------------------------------------------
# A synchronous standby
#-------------------------------------------------------------------------

my %client = map { $_ => start_client($_, "sync-$_", 150) } 'n1', 'n2';
wait_until('some runs', sub { value($s1, 'count(*) FROM agno.runs') > 20 });
$n1->kill9;
my $lost_at = time;
$s1->promote;
my $promoted = time - $lost_at;
$_->{process}->finish foreach values %client;

my ($pause, @ids) = acknowledged($client{n1});
cmp_ok(scalar(@ids), '>', 50, scalar(@ids) . ' runs of the node that was lost were acknowledged');
like($client{n1}{err}, qr/ERROR/, 'its client has seen errors');
note(sprintf('%.2f s without service, of them %.2f s until the standby was promoted', $pause, $promoted));
my $list = join ',', @ids;
is(value($router, "count(*) FROM unnest('{$list}'::text[]) i, agno_get_run_output(i)"), scalar(@ids), 'each is there');
ok($router->poll_query_until('postgres', "SELECT count(*) = 0 FROM agno.runs WHERE session_id = '$session{n1}' AND status <> 'COMPLETED'"), 'and completes');
is(value($router, "count(*) FROM agno.runs WHERE session_id = '$session{n1}' AND attempt > 2"), 0, 'in its second attempt at the latest');
my ($other_pause, @other_ids) = acknowledged($client{n2});
is(scalar(@other_ids) . $client{n2}{err}, '150', 'the client of the other node has seen nothing');
is(value($router, "concat_ws(' ', reachable, standby, problem) FROM agno_router_status() WHERE node = 'n1'"), 't f', 'agno_router_status finds the standby');

# Agents
ok($router->poll_query_until('postgres', q(SELECT problem LIKE 'agents and tools are not replicated%' FROM agno_router_status() WHERE node = 'n2')),
	'agno_router_status says that agents do not arrive any more');
value($router, "agno.replicate_agents('n2')");
as($router, 'app', q(INSERT INTO agno.agents (agent_id, model) VALUES ('a', 'mock:echo')));
ok($n2->poll_query_until('postgres', 'SELECT count(*) = 1 FROM agno.agents'), 'until they are replicated anew');

#-------------------------------------------------------------------------
# An asynchronous one
#-------------------------------------------------------------------------

unlink $_ foreach glob $n1->data_dir . '/postmaster.pid';
$n1->clean_node;
my $s2 = new_standby('s2', $s1);
$router->safe_psql('postgres', 'ALTER SERVER n1 OPTIONS (SET host $$' . $s1->host . ',' . $s2->host . '$$, SET port $$' . $s1->port . ',' . $s2->port . '$$)');
is(as($router, 'app', "SELECT status FROM agno_arun('x', run_id => 'sent', session_id => '$session{n1}', model => 'mock:echo')"), 'PENDING', 'a node is moved by ALTER SERVER');
as($router, 'app', "SELECT agno_wait_run('sent')");
$s1->wait_for_catchup('s2');
$s2->append_conf('postgresql.conf', "primary_conninfo = ''\n");
$s2->reload;
$s2->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)');
as($router, 'app', "SELECT agno_arun('x', run_id => 'unsent-$_', session_id => '$session{n1}', model => 'mock:echo')") foreach 1 .. 10;
is(as($router, 'app', "SELECT status FROM agno_wait_run('unsent-10')"), 'COMPLETED', 'runs that were not sent to an asynchronous standby, even if they have ended');
$s1->kill9;
$s2->promote;
is(value($router, "string_agg(run_id, ',') FROM agno.runs WHERE run_id IN ('sent', 'unsent-1', 'unsent-10')"), 'sent', 'are lost; what was sent is not');
is(value($router, "count(*) FROM unnest('{$list}'::text[]) i, agno_get_run_output(i)"), scalar(@ids), 'and nothing else is');
is(as($router, 'app', "SELECT status FROM agno_arun('x', run_id => 'unsent-1', session_id => '$session{n1}', model => 'mock:echo')"), 'PENDING', 'their ids can be used again');

unlink $_ foreach glob $s1->data_dir . '/postmaster.pid';
$_->stop foreach $router, $n2, $s2;
done_testing();
