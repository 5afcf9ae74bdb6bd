# The programs of doc/drivers.md in Python and JavaScript print what stands there, as an
# ordinary role: they enqueue, wait, listen and stream with psycopg, psycopg2, asyncpg,
# SQLAlchemy, Django and node-postgres. And what that page says of all drivers is so.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoDocs;
use AgnoTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(ALTER DATABASE postgres SET agno_bg.default_model = 'mock:gpt-5-mini'));

#-------------------------------------------------------------------------
# For all of them
#-------------------------------------------------------------------------

as('app', "SELECT (agno_arun('trap')).*");
is(value("count(*) FROM agno.runs WHERE input = 'trap'"), 3,
	'(agno_arun()).* starts three runs, as the page says');
as('app', "SELECT (agno_arun('no trap')).run_id");
is(value("count(*) FROM agno.runs WHERE input = 'no trap'"), 1,
	'(agno_arun()).run_id starts one');
my %outcomes = (
	"SELECT count(*) FROM agno.runs WHERE owner = 'app'" => '22P02',
	"SELECT count(*) > 0 FROM agno.runs WHERE owner = 'app'::regrole" => 't',
	"SELECT owner FROM agno.runs LIMIT 1" => 'app',
	"SELECT w.status FROM agno_arun('x') r, agno_wait_run(r.run_id) w" => '55000',
	"BEGIN; CALL agno_run('x')" => '2D000',
	"SELECT agno_arun('x', run_id => gen_random_uuid())" => '42883',
	"SELECT status FROM agno_arun('x', metadata => 'null', output_schema => 'null')" => 'PENDING',
	"SELECT '5000'::interval" => '01:23:20');
is(outcome_as('app', $_), $outcomes{$_}, "$_: $outcomes{$_}") foreach sort keys %outcomes;

#-------------------------------------------------------------------------
# The programs
#-------------------------------------------------------------------------

my $python = install_python('drivers', split /\n/, page('test/interop/drivers/requirements.txt'));
my $modules = install_npm('drivers');
skipped('the drivers for Python cannot be installed') if !$python;
skipped('node-postgres cannot be installed') if !$modules;

my %drivers = sections(page('doc/drivers.md'));
my $programs = 0;
foreach my $driver ('psycopg', 'psycopg2', 'asyncpg', 'SQLAlchemy', 'Django', 'node-postgres')
{
	my ($program, $output) = blocks($drivers{$driver});
	my ($language, undef, $code) = @$program;
	my ($file, @command) = $language eq 'python'
	  ? ("$PostgreSQL::Test::Utils::tmp_check/try_$driver.py", $python)
	  : (($modules // '') . "/$driver.mjs", 'node');
	my ($out, $err) = ('', '');

	next if !($language eq 'python' ? $python : $modules);
	append_to_file($file, $code);
	local @ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)} = ($node->host, $node->port, 'app', 'postgres');
	IPC::Run::run([ @command, $file ], '<', '/dev/null', '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	is($out, $output->[2], "$driver: the program prints what stands there");
	is($err, '', "$driver: it complains about nothing");
	$programs++;
}
note("$programs programs");

$node->stop;
done_testing();
