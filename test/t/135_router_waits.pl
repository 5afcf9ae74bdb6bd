# A wait through a router sleeps on the node, and ends there when it ends here: by the
# run's end, its own timeout, statement_timeout, a cancel of the query, or the end of the
# client. And a node that is down hurts only its own sessions: calls of the others
# work, the views over all nodes show what there is and say what is missing, and
# agno_router_status tells. A node that comes back is found again.

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
my ($router, $n1, $n2) = new_cluster(2);

make_user($_, 'app') foreach $n1, $n2, $router;
$_->safe_psql('postgres', 'GRANT pg_monitor TO app') foreach $n1, $n2, $router;

my %id = (n1 => own_id($router, 'run', 'n1'), n2 => own_id($router, 'run', 'n2'));

# How many backends of a node wait for a run.
sub waiting { my ($node) = @_; return value($node, q(count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND query LIKE '%agno_wait_run%')); }
sub wait_waiting { my ($node, $count) = @_; return wait_until("$count waits", sub { waiting($node) == $count }); }
# A client that waits for a run of n1, with these statements before; what it says is in $said.
my $said;
sub waits
{
	my ($before) = @_;
	$said = '';
	my $client = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-U', 'app', '-d', $router->connstr('postgres'),
			'-c', "$before SELECT status FROM agno_wait_run('hang')" ], '<', '/dev/null', '>', \$said, '2>', \$said);
	return $client;
}

#-------------------------------------------------------------------------
# Waits
#-------------------------------------------------------------------------

my $hang_id = own_id($router, 'hang', 'n1');
enqueue($router, 'hang', 'hang', role => 'app', session_id => $hang_id);
wait_for_request('hang');

my $client = waits('');
wait_waiting($n1, 1);
as($router, 'app', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND query LIKE '%agno_wait_run%' AND pid <> pg_backend_pid()");
$client->finish;
like($said, qr/ERROR:  57014: canceling statement due to user request/, 'a query cancel ends a wait');
wait_waiting($n1, 0);
pass('on the node, too');

$client = waits("SET statement_timeout = '300ms';");
$client->finish;
like($said, qr/ERROR:  57014: canceling statement due to statement timeout/, 'statement_timeout ends a wait');
wait_waiting($n1, 0);
pass('on the node, too');

is(as($router, 'app', "SELECT status FROM agno_wait_run('hang', '200 ms')"), 'RUNNING', 'the timeout of a wait passes');
is(waiting($n1), 0, 'on the node');

$client = waits('');
wait_waiting($n1, 1);
$client->kill_kill;
wait_until('the router to notice', sub { value($router, q(count(*) FROM pg_stat_activity WHERE usename = 'app')) == 0 });
wait_waiting($n1, 0);
pass('a wait ends on the node when its client is gone');

# The router itself goes: the connections of a router look after their client.
$client = waits('');
wait_waiting($n1, 1);
$router->stop('immediate');
$client->finish;
wait_waiting($n1, 0);
pass('or the router');
$router->start;

# By CALL, and through a function
$client = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $router->connstr('postgres'),
		'-c', "CALL agno_run('called', session_id => '$hang_id-2', run_id => 'called', model => 'mock:gate')" ], '<', '/dev/null', '>', \$said);
wait_for_request('called');
is(value($router, q(count(*) FROM pg_stat_activity WHERE usename = 'app' AND backend_xid IS NOT NULL)), 0, 'CALL agno_run holds no transaction that writes');
open_gate();
$client->finish;
like($said, qr/called\|COMPLETED/, 'it returns when the run ends');

#-------------------------------------------------------------------------
# A node is down
#-------------------------------------------------------------------------

foreach my $name ('n1', 'n2')
{
	enqueue($router, $id{$name}, 'echo', role => 'app');
	as($router, 'app', "SELECT agno_wait_run('$id{$name}')");
}
as($router, 'app', "INSERT INTO agno.enqueue (input, session_id, model) SELECT 'x', '$id{n1}', 'mock:echo' FROM generate_series(1, 10)");
my %generated = map { my $n = $_; $n => as($router, 'app', "SELECT run_id FROM agno_arun('x', session_id => '$id{$n}', model => 'mock:echo')") } 'n1', 'n2';

# A session that has connections to both, and loses one.
my ($in, $out, $err) = ('', '', '');
my $session = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-U', 'app', '-d', $router->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
sub session { my ($sql) = @_; $in .= "$sql;\n\\echo over\n"; $session->pump until $out =~ /over\n\z/; my $got = $out . $err; $out = $err = ''; return $got =~ s/over\n//r; }
my ($on_n1, $on_n2) = map { value($_, "count(*) FROM agno.runs") } $n1, $n2;
is(session("SELECT count(*) FROM agno.runs"), $on_n1 + $on_n2 . "\n", 'a session that reads from both nodes');
session("SELECT agno_get_run_output('$generated{$_}')") foreach 'n1', 'n2';

$n2->stop('immediate');

my ($ret, $stdout, $stderr) = $router->psql('postgres', 'SELECT string_agg(DISTINCT node, $$,$$) FROM agno.runs');
is($stdout, 'n1', 'a view shows what can be reached');
like($stderr, qr/WARNING:  node "n2" cannot be reached: its rows are missing/, 'and says what is missing');
foreach my $relation (qw(sessions run_events tool_calls approvals stats workers))
{
	($ret, $stdout, $stderr) = $router->psql('postgres', "SELECT count(*) FROM agno.$relation");
	is("$ret " . (() = $stderr =~ /WARNING:  node "n2" cannot be reached/g), '0 1', "agno.$relation, too");
}
my $seen = value($n1, "count(*) FROM agno.runs WHERE owner = 'app'::regrole");
cmp_ok($seen, '>', 10, 'there are several rows');
# By a role that is not the session's, a node is looked for when the query is planned, too.
foreach ([ 'SET ROLE app', 3 ], [ 'SET SESSION AUTHORIZATION app', 1 ])
{
	my ($as, $times) = @$_;

	($ret, $stdout, $stderr) = $router->psql('postgres', "$as; SELECT count(*) FROM agno.runs");
	is("$stdout " . (() = $stderr =~ /WARNING:  node "n2" cannot be reached/g), "$seen $times", "$as: said $times times, not for each row");
}
is(outcome($router, q(SELECT count(*) FROM agno.runs WHERE node = 'n2')), '08001', 'who asks for that node gets an error');
is(outcome_as($router, 'app', q(PREPARE p AS SELECT count(*) FROM agno.runs r JOIN agno.sessions s USING (session_id) WHERE r.status = 'COMPLETED';
	EXECUTE p)) =~ s/\D.*//sr, value($n1, "count(*) FROM agno.runs WHERE status = 'COMPLETED'"), 'a join of two views');
like(session("SELECT count(*) FROM agno.runs"), qr/^$on_n1$/m, 'a session that had a connection sees it as well');

is(value($router, "string_agg(concat_ws(' ', node, reachable), ',' ORDER BY node) FROM agno_router_status()"), 'n1 t,n2 f', 'agno_router_status tells');
like(value($router, "problem FROM agno_router_status() WHERE node = 'n2'"), qr/^connection to server .*failed/, 'and why');

is(as($router, 'app', "SELECT status FROM agno_get_run_output('$generated{n1}')"), 'COMPLETED', 'runs of the other node are polled');
is(as($router, 'app', "SELECT status FROM agno_get_run_output('$id{n1}')"), 'COMPLETED', 'by ids of one\'s own, too');
is(as($router, 'app', "SELECT status FROM agno_get_run_output('hang')"), 'RUNNING', 'and if they are elsewhere than their id says') if value($router, "agno.node_of('hang')") eq 'n1';
is(as($router, 'app', "SELECT status FROM agno_arun('x', session_id => '$id{n1}', model => 'mock:echo')"), 'PENDING', 'runs are enqueued in its sessions');
is(as($router, 'app', "SELECT agno_cancel_run('hang')"), 't', 'and cancelled') if value($router, "agno.node_of('hang')") eq 'n1';
like(as($router, 'app', "CALL agno_run('x', session_id => '$id{n1}', model => 'mock:echo')"), qr/COMPLETED/, 'and waited for');

foreach my $sql ("SELECT agno_get_run_output('$generated{n2}')", "SELECT agno_get_run_output('$id{n2}')", "SELECT agno_cancel_run('$id{n2}')",
	"SELECT agno_wait_run('$generated{n2}')", "SELECT agno_requeue_run('$generated{n2}')",
	"SELECT agno_get_run_output('unknown')")
{
	($ret, $stdout, $stderr) = $router->psql('postgres', "\\set VERBOSITY verbose\n$sql", extra_params => [ '-U', 'app' ]);
	like($stderr, qr/ERROR:  08006: the node cannot be reached\nDETAIL:  connection to server/, "$sql: the node cannot be reached");
}
is(outcome_as($router, 'app', "SELECT agno_arun('x', session_id => '$id{n2}', model => 'mock:echo')"), '08001', 'nor are runs enqueued there');
like(session("SELECT agno_get_run_output('$generated{n2}')"), qr/ERROR:  08006/, 'a session whose connection is lost gets an error');
like(session("SELECT status FROM agno_get_run_output('$generated{n1}')"), qr/COMPLETED/, 'and goes on with the other node');

$n2->start;
like(session("SELECT status FROM agno_get_run_output('$generated{n2}')"), qr/^COMPLETED$/m, 'when the node is back, the same session finds it');
unlike(session('SELECT count(*) FROM agno.runs WHERE input IS NULL'), qr/WARNING|ERROR/, 'and the views are complete again');
is(as($router, 'app', "SELECT status FROM agno_arun('x', session_id => '$id{n2}', model => 'mock:echo')"), 'PENDING', 'and runs are enqueued');

# A node whose connection is cut while somebody waits
my $second = own_id($router, 'wait', 'n2');
enqueue($router, $second, 'hang', role => 'app');
$client = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-U', 'app', '-d', $router->connstr('postgres'),
		'-c', "SELECT status FROM agno_wait_run('$second')" ], '<', '/dev/null', '>', \$said, '2>', \$said);
wait_waiting($n2, 1);
$n2->stop('immediate');
$client->finish;
like($said, qr/ERROR:  (?:08006|57P0[12]):/, 'a node that crashes ends the waits for its runs, with an error');

$in .= "\\q\n";
$session->finish;
$_->stop foreach $router, $n1;
done_testing();
