# A database that allows no connections has no runner once the one that it had has ended, and
# the log says nothing of it; it has one again, nobody asking, soon after it allows
# them. Faults injected: the runner is ended, and the server restarted, meanwhile.
# Waits: for a database that cannot be entered.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', no_extension => 1);
my $url = start_mock('mock');
$node->safe_psql('postgres', 'CREATE DATABASE closes');
$node->safe_psql('closes', 'CREATE EXTENSION agno_bg');
add_mock_server($url, database => 'closes');
enqueue('first', 'echo', database => 'closes');
is(wait_run('first', 'closes'), 'COMPLETED', 'a run is executed');

sub allow { my ($what) = @_; $node->safe_psql('postgres', "ALTER DATABASE closes ALLOW_CONNECTIONS $what"); }
my $runners = "FROM pg_stat_activity WHERE backend_type = 'agno_bg runner' AND datname = 'closes'";
sub comes_back
{
	my ($name) = @_;
	is(value("count(*) $runners"), 0, "$name: there is no runner");
	is(logged(qr/not currently accepting connections/), 0, "$name: and none is tried");
	allow('true');
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $runners"), "$name: it comes back");
}

enqueue('second', 'hang', input => 'x', database => 'closes');
wait_for_request('x');
my $pid = runner_pid('closes');
allow('false');
is(value("pg_terminate_backend($pid, 10000)"), 't', 'the runner is ended');
# time for a start, and for the next ones after pauses
$node->poll_query_until('postgres', "SELECT clock_timestamp() > '" . value("now() + '4 s'") . "'");
comes_back('ended');

allow('false');
$node->restart;
# the launcher goes through all databases: another has its runner
$node->safe_psql('postgres', 'CREATE EXTENSION agno_bg');
runner_pid('postgres');
comes_back('restarted');
ok($node->poll_query_until('closes', "SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'second'"), 'and has taken its run over');

done_testing();
