# A key appears in no table of agno_bg, in no line of the log even at debug5
# and with every statement logged, in no error, and in no core view but those
# that show user mappings.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $key = 'sk-very-secret-0123456789';
my $key_file = "$PostgreSQL::Test::Utils::tmp_check/key";
append_to_file($key_file, "$key-file\n");
$ENV{OPENAI_API_KEY} = "$key-environment";
$ENV{AGNO_TEST_KEY} = "$key-variable";
my $url = start_mock('mock');
$ENV{OPENAI_BASE_URL} = $url;

my $node = new_node('main');
delete $ENV{OPENAI_BASE_URL};

# Not before the server has started: at debug3, the postmaster begins with its
# whole environment.
$node->append_conf(
	'postgresql.conf', "log_min_messages = debug5
	log_statement = all
	log_min_duration_statement = 0
	log_error_verbosity = verbose");
$node->reload;
$node->poll_query_until('postgres', 'SHOW log_statement', 'all');

# Each with its own source of the key
$node->safe_psql(
	'postgres', qq(
	CREATE ROLE one; CREATE ROLE two; CREATE ROLE three;
	SELECT agno_grant_usage(r) FROM unnest('{one,two,three}'::name[]) r;
	CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url');
	GRANT USAGE ON FOREIGN SERVER mock TO one, two, three;
	CREATE USER MAPPING FOR one SERVER mock OPTIONS (api_key '$key-option');
	CREATE USER MAPPING FOR two SERVER mock
		OPTIONS (api_key_file '$key_file');
	CREATE USER MAPPING FOR three SERVER mock
		OPTIONS (api_key_env 'AGNO_TEST_KEY')));

# Statements that fail
foreach my $options (
	"api_key '$key', api_key '$key'",
	"api_kye '$key'",
	"api_key '$key', api_key_env 'X'",
	"api_key E'$key\\n'")
{
	my ($ret, $out, $err) = $node->psql('postgres',
		"CREATE USER MAPPING FOR PUBLIC SERVER mock OPTIONS ($options)");
	isnt($ret, 0, "a user mapping is refused with $options");
	unlike($err, qr/ERROR.*$key/, 'the error does not show the key');
}
$node->psql('postgres',
	"CREATE USER MAPPING FOR one SERVER mock OPTIONS (api_key '$key')");
$node->psql('postgres', "DO \$\$ BEGIN EXECUTE "
	  . "'CREATE USER MAPPING FOR one SERVER mock OPTIONS (api_key ''$key'')'; END \$\$");
$node->safe_psql('postgres',
	"ALTER USER MAPPING FOR one SERVER mock OPTIONS (SET api_key '$key-option')");

# Runs that succeed and fail
foreach my $role (qw(one two three))
{
	foreach my $model (qw(echo status-401 html-500 cut drop badjson))
	{
		$node->safe_psql('postgres', "SET ROLE $role; SELECT agno_arun('$role',"
			  . " model => 'mock:$model', run_id => '$role$model')");
	}
}
$node->safe_psql('postgres',
	"SELECT agno_arun('environment', run_id => 'environment')");
$node->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM agno.runs WHERE status IN ('PENDING', 'RUNNING')");

my %sent = map { $_->{headers}{authorization} => 1 } mock_requests('mock');
is_deeply(
	[ sort keys %sent ],
	[
		map { "Bearer $key-$_" } qw(environment file option variable)
	],
	'each key was sent');

foreach my $table (
	split /\n/,
	$node->safe_psql(
		'postgres', "SELECT oid::regclass FROM pg_class
		WHERE relnamespace = 'agno'::regnamespace AND relkind IN ('r', 'v')"))
{
	is(value("count(*) FROM $table t
			WHERE t::text LIKE '%very-secret%'"),
		0,
		"no key is in $table");
}
is(value("count(*) FROM pg_stat_activity a
		WHERE a::text LIKE '%very-' || 'secret%'
		AND backend_type <> 'client backend'"),
	0,
	'no key is in pg_stat_activity');

# A session that has set a key and rests shows its last statement to pg_monitor.
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query('SELECT pg_backend_pid()');
foreach my $statement (
	"CREATE USER MAPPING FOR PUBLIC SERVER mock OPTIONS (api_key '$key')",
	"ALTER USER MAPPING FOR PUBLIC SERVER mock OPTIONS (SET api_key '$key-2')",
	"DO \$\$ BEGIN ALTER USER MAPPING FOR PUBLIC SERVER mock OPTIONS (SET api_key '$key'); END \$\$",
	"DO \$\$ BEGIN EXECUTE concat('ALTER USER MAPPING FOR PUBLIC SERVER mock OPTIONS (SET api_', 'key ''pieces'')'); END \$\$",
	"SELECT 1\\; ALTER USER MAPPING FOR PUBLIC SERVER mock OPTIONS (SET api_key '$key')",
	"CREATE USER MAPPING FOR PUBLIC SERVER nobody OPTIONS (api_key '$key')",
	"CREATE USER MAPPING FOR PUBLIC SERVER mock OPTIONS api_key '$key'")
{
	$session->query($statement);
	is(value("query FROM pg_stat_activity WHERE pid = $pid"),
		'(a statement that sets an API key is not shown)',
		"pg_stat_activity does not show it: " . $statement =~ s/'sk.*//r);
}
$session->query(q(SELECT 'the last one'));
like(value("query FROM pg_stat_activity WHERE pid = $pid"), qr/the last one/,
	'other statements it does');
$session->quit;
my $processes = `ps -eo args`;
unlike($processes, qr/agno_bg.*very-secret/,
	'no key is in the arguments of a process');

$node->stop;
my @lines = grep { /sk-very-secret/ } split /\n/, slurp_file($node->logfile);
is(scalar(@lines), 0, 'no key is in the log at debug5') or diag($lines[0]);
like(slurp_file($node->logfile), qr/that sets an API key is not logged/,
	'the log says that it leaves something out');
done_testing();
