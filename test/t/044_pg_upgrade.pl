# pg_upgrade keeps runs, agents, sessions and markers; what was pending is
# executed by the new server, what had ended is not. OLD_PG_CONFIG names the
# pg_config of the older server, with the extension installed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'OLD_PG_CONFIG is not set' unless $ENV{OLD_PG_CONFIG};

my $old_bindir = `$ENV{OLD_PG_CONFIG} --bindir`;
chomp $old_bindir;
my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $url = start_mock('mock');

sub old_server
{
	my (@arguments) = @_;
	system_or_bail("$old_bindir/pg_ctl", '-D', "$dir/old", '-w', '-l',
		"$dir/old.log", @arguments);
}

sub old_psql
{
	my ($sql) = @_;
	my $out = '';
	IPC::Run::run(
		[
			"$old_bindir/psql", '-XAtq', '-v', 'ON_ERROR_STOP=1',
			'-h', $dir, '-p', $port, 'postgres'
		],
		'<', \$sql, '>', \$out)
	  or die 'psql failed';
	chomp $out;
	return $out;
}

# pg_upgrade wants both to have the same locale, encoding and checksums.
my @initdb = ('-A', 'trust', '-N', '--no-locale', '-E', 'UTF8');
my @new_initdb = @initdb;
push @new_initdb, '--no-data-checksums'
  if `initdb --help` =~ /--no-data-checksums/;
system_or_bail("$old_bindir/initdb", '-D', "$dir/old", @initdb);
append_to_file(
	"$dir/old/postgresql.conf", qq(
shared_preload_libraries = 'agno_bg'
listen_addresses = ''
unix_socket_directories = '$dir'
port = $port
));
old_server('start');
old_psql(qq(
	CREATE EXTENSION agno_bg;
	CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url');
	INSERT INTO agno.agents (agent_id, model, instructions)
		VALUES ('helper', 'mock:echo', '{Be brief.}');
	CALL agno_run('done', agent_id => 'helper', run_id => 'done',
		session_id => 'talk');
	SELECT agno_arun('waits', agent_id => 'helper', run_id => 'waits',
		session_id => 'talk', run_at => now() + '1 s');
	SELECT agno_arun('flies', model => 'mock:slow-2000', run_id => 'flies');
	SELECT agno_cancel_run('unborn')));
wait_for_request('flies');
old_server('stop', '-m', 'fast');

my $node = PostgreSQL::Test::Cluster->new('new');
$node->init(extra => [ @new_initdb[ 3 .. $#new_initdb ] ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'agno_bg'");
chdir $dir;
command_ok(
	[
		'pg_upgrade', '-N', '-b', $old_bindir,
		'-d', "$dir/old", '-D', $node->data_dir,
		'-p', $port, '-P', $node->port, '-s', $node->host
	],
	'pg_upgrade succeeds');
$node->start;
is( $node->safe_psql('postgres', "SELECT status, content
		FROM agno_get_run_output('done')"),
	'COMPLETED|You said: done', 'the upgraded server has what had ended');
foreach my $run (qw(waits flies))
{
	is(wait_run($node, $run), 'COMPLETED', "$run is executed");
}
$node->safe_psql('postgres',
	"SELECT agno_arun('x', agent_id => 'helper', session_id => 'talk',
		run_id => 'unborn')");
is(wait_run($node, 'unborn'), 'CANCELLED',
	'the upgraded server has the markers');
is(mock_count('mock', 'done'), 1, 'what had ended is not executed again');
$node->stop;
done_testing();
