# A client that goes away while it waits for a run takes its session along, and the run goes
# on. The fault is a client that is killed in agno_wait_run or CALL agno_run, with and without
# a timeout, without client_connection_check_interval. What such a session had locked is
# free then.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "client_connection_check_interval = 0\nlisten_addresses = '127.0.0.1'");
add_mock_server(start_mock('mock'));

sub waiting
{
	return value("count(*) FROM pg_stat_activity WHERE query ~ '^(SELECT agno_wait|CALL)' AND pid <> pg_backend_pid()");
}

my $number = 0;
foreach my $host ($node->host, '127.0.0.1')
{
	foreach my $statement ("SELECT agno_wait_run('%s')", "SELECT agno_wait_run('%s', '1 hour')",
		"CALL agno_run('%s', run_id => '%s', model => 'mock:gate')")
	{
		my $id = 'run' . ++$number;
		my $sql = $statement =~ s/%s/$id/gr;

		enqueue($id, 'gate') if $sql !~ /CALL/;
		my $psql = IPC::Run::start([ 'psql', '-XAtq', '-h', $host, '-p', $node->port, '-c', $sql, 'postgres' ],
			'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
		wait_until("$sql to wait", sub { waiting() == 1 && run_status($id) eq 'RUNNING' });
		$psql->kill_kill;
		ok(wait_until('the session to leave', sub { waiting() == 0 }), "$sql ends with its client, by $host");
		is(run_status($id), 'RUNNING', "$id goes on");
	}
}
$node->safe_psql('postgres', "SET lock_timeout = '20 s'; ALTER TABLE agno.runs ADD COLUMN of_ours integer");
open_gate();
is(wait_run("run$_"), 'COMPLETED', "run$_ completes") foreach 1 .. $number;
ok(logged(qr/FATAL:  connection to client lost/) >= $number, 'the log says why the sessions ended');

$node->stop;
done_testing();
