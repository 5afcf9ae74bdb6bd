# Through PgBouncer in transaction mode, where each transaction may be on
# another connection: enqueueing, polling, waiting and cancelling work, and
# nothing of a client is left on the connection for the next one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($pgbouncer) = grep { -x } qw(/usr/sbin/pgbouncer /usr/bin/pgbouncer);
plan skip_all => 'there is no pgbouncer' unless $pgbouncer;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $port = PostgreSQL::Test::Cluster::get_free_port();
my ($server_host, $server_port) = ($node->host, $node->port);
my $user = getpwuid($<);
append_to_file("$dir/users.txt", qq("$user" ""\n));
append_to_file(
	"$dir/pgbouncer.ini", qq(
[databases]
postgres = host=$server_host port=$server_port dbname=postgres
[pgbouncer]
listen_addr =
unix_socket_dir = $server_host
listen_port = $port
auth_type = trust
auth_file = $dir/users.txt
pool_mode = transaction
default_pool_size = 2
max_client_conn = 100
logfile = $dir/pgbouncer.log
pidfile = $dir/pgbouncer.pid
));
my $process = IPC::Run::start([ $pgbouncer, '-q', "$dir/pgbouncer.ini" ],
	'<', '/dev/null', '>', "$dir/pgbouncer.out", '2>&1');
wait_until('pgbouncer', sub { -S "$server_host/.s.PGSQL.$port" });

sub pooled
{
	my ($sql) = @_;
	my ($out, $err);
	IPC::Run::run(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', $server_host,
			'-p', $port, 'postgres'
		],
		'<', \$sql, '>', \$out, '2>', \$err);
	chomp $out;
	diag($err) if $err ne '';
	return $out;
}

is( pooled(q(
		SELECT status FROM agno_arun('one', model => 'mock:echo', run_id => 'one');
		SELECT content FROM agno_wait_run('one', '30 s');
		SELECT status FROM agno_get_run_output('one'))),
	"PENDING\nYou said: one\nCOMPLETED",
		'a client of the pool enqueues, waits and polls');
is( pooled(q(CALL agno_run('two', model => 'mock:echo', run_id => 'two'))),
	'two|COMPLETED|You said: two', 'CALL agno_run works through the pool');
is( pooled(q(
		BEGIN;
		SELECT agno_arun('no', model => 'mock:echo', run_id => 'no') \g /dev/null
		ROLLBACK;
		BEGIN;
		SELECT agno_arun('yes', model => 'mock:hang', run_id => 'yes') \g /dev/null
		COMMIT;
		SELECT count(*) FROM agno_get_run_output('no');
		SELECT agno_cancel_run('yes');
		SELECT status FROM agno_wait_run('yes', '30 s'))),
	"0\nt\nCANCELLED", 'a client of the pool rolls back, commits and cancels');

# Many clients on two connections
my @clients = map {
	IPC::Run::start(
		[
			'psql', '-XAtq', '-h', $server_host, '-p', $port, '-c',
			"CALL agno_run('many $_', model => 'mock:slow-200', run_id => 'many$_')",
			'postgres'
		],
		'<', '/dev/null', '>', "$dir/client$_.out", '2>&1')
} 1 .. 10;
$_->finish foreach @clients;
is(value("count(*) FROM agno.runs WHERE run_id LIKE 'many%'
			AND status = 'COMPLETED'"),
	10, 'ten clients on two connections all get their runs executed');
is(slurp_file("$dir/client7.out"), "many7|COMPLETED|You said: many 7\n",
	'each client gets its own answer');

$process->kill_kill;
$node->stop;
done_testing();
