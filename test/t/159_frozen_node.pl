# All processes of a node are stopped by a signal while a session of the router has its
# connections to it. A call for a run of another node, whose id has to be looked for,
# is ended by statement_timeout or pg_terminate_backend; the next one finds the run, after
# connect_timeout, and so does agno_router_status.

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
$router->safe_psql('postgres', "ALTER SERVER $_ OPTIONS (SET connect_timeout '2')") foreach 'n1', 'n2';
my $session = own_id($router, 'session', 'n1');
my $strange = own_id($router, 'strange', 'n2');	# the frozen node has its slot, and not the run
enqueue($router, $strange, 'echo', role => 'app', session_id => $session);
as($router, 'app', "SELECT agno_wait_run('$strange')");

# Two sessions have asked the node just now.
my $poll = "SELECT status FROM agno_get_run_output('$strange')";
my $warm = $router->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
is($warm->query($poll), 'COMPLETED', 'a session is warm');
my ($in, $out, $err) = ("SET application_name = 'victim'; $poll;\n", '', '');
my $victim = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $router->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
$victim->pump until $out =~ /COMPLETED/;

my @processes = ($n2->{_pid}, split /\s+/, (run_command([ 'ps', '-o', 'pid=', '--ppid', $n2->{_pid} ]))[0] =~ s/^\s+//r);
END { kill 'CONT', @processes if @processes; }
kill 'STOP', $_ foreach @processes;

my $begun = time;
is($warm->query("SET statement_timeout = '2s'; $poll;\n\\echo :SQLSTATE"), '57014', 'statement_timeout ends a call');
cmp_ok(time - $begun, '<', 10, sprintf('after %.1f s', time - $begun));
$begun = time;
is($warm->query("SET statement_timeout = '30s'; $poll"), 'COMPLETED', 'the next one does without the node');
cmp_ok(time - $begun, '<', 10, sprintf('after %.1f s', time - $begun));

$in .= "$poll;\n";
$victim->pump_nb;
my $waits = "FROM pg_stat_activity WHERE application_name = 'victim' AND state = 'active'";
ok($router->poll_query_until('postgres', "SELECT count(*) = 1 $waits"), 'another session waits');
is(value($router, "pg_terminate_backend(pid, 10000) $waits"), 't', 'pg_terminate_backend ends it');

is(value($router, "string_agg(concat_ws(' ', node, reachable), ',') FROM agno_router_status()"), 'n1 t,n2 f', 'agno_router_status tells');

kill 'CONT', @processes;
@processes = ();
$n2->poll_query_until('postgres', 'SELECT true');
is($warm->query($poll), 'COMPLETED', 'when the node goes on, all is well');
$warm->quit;
$victim->kill_kill;
$_->stop foreach $router, $n1, $n2;
done_testing();
