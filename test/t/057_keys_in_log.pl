# A key is in no log, however the statement that sets it fails or is logged, and
# in no table, even when the server that it is for repeats it. The server that
# does so is one of our own: mock/indiscreet_server.py.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "log_statement = all
	log_min_error_statement = debug1
	log_min_messages = debug1");
my $base = "$PostgreSQL::Test::Utils::tmp_check/indiscreet";
my $server = IPC::Run::start(
	[ 'python3', "$FindBin::Bin/../mock/indiscreet_server.py", "$base.port" ],
	'<', '/dev/null', '>', "$base.out", '2>&1');
wait_until('the server', sub { -s "$base.port" });
my $url = 'http://127.0.0.1:' . (slurp_file("$base.port") =~ s/\s//gr) . '/v1';

# What is told to the client, too
my @statements = (
	"SET client_min_messages = log;
	CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key 'sk-LEAK-0001')",
	"SET client_min_messages = debug1;
	ALTER USER MAPPING FOR postgres SERVER m OPTIONS (SET api_key 'sk-LEAK-0002')",
	'CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key "sk-LEAK-0003")',
	"CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key 'sk-LEAK-0004)",
	"CREATE SERVER oops FOREIGN DATA WRAPPER agno_bg OPTIONS (api_key 'sk-LEAK-0005')",
	"ALTER SERVER m OPTIONS (ADD api_key 'sk-LEAK-0006')",
	"CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key E'sk-LEAK-0007')",
	'CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key $$sk-LEAK-0008$$)',
	'CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key $k$sk-LEAK-0009$k$ x)',
	"DO 'BEGIN CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key ''sk-LEAK-0010''); END'",
	'DO $d$BEGIN EXECUTE $e$CREATE USER MAPPING FOR nobody SERVER m OPTIONS (api_key \'sk-LEAK-0011\')$e$; END$d$',
	"CREATE USER MAPPING FOR postgres SERVER none OPTIONS (api_key 'sk-LEAK-0012')",
	"CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_keys 'sk-LEAK-0013')",
	"CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key 'sk-LEAK-0014\n')",
	"CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key='sk-LEAK-0015')",
	'CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key "sk-LEAK-0017' . 'x' x 80 . '")',
	'CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key U&"sk-LEAK-0018")',
	'CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key /* x */ "sk-LEAK-0019")',
	"CREATE USER MAPPING FOR postgres SERVER m OPTIONS (apikey 'sk-LEAK-0020')",
	'CREATE USER MAPPING FOR postgres SERVER m OPTIONS (apikey "sk-LEAK-0021")',
	"CREATE USER MAPPING FOR postgres SERVER m OPTIONS api_key 'sk-LEAK-0022'",
	"ALTER FOREIGN DATA WRAPPER agno_bg OPTIONS (ADD api_key 'sk-LEAK-0023')",
	q(ALTER USER MAPPING FOR postgres SERVER m OPTIONS (SET U&"api\005fkey" 'sk-LEAK-0024')),
	q(CREATE USER MAPPING FOR nobody SERVER m OPTIONS (u&"!0061pi_key" UESCAPE '!' 'sk-LEAK-0025')),
	q(CREATE USER MAPPING FOR postgres SERVER m OPTIONS (U&"\006bey" 'sk-LEAK-0026')),
	q(CREATE SERVER oops FOREIGN DATA WRAPPER agno_bg OPTIONS (U&"api\005fkey" 'sk-LEAK-0027)),
	q(DO $d$BEGIN EXECUTE $e$CREATE USER MAPPING FOR nobody SERVER m OPTIONS (U&"api\005fkey" 'sk-LEAK-0028')$e$; END$d$),
	q(CREATE USER MAPPING FOR postgres SERVER m OPTIONS (U&"api\005fkey" "sk-LEAK-0029")),
	"PREPARE p AS CREATE USER MAPPING FOR postgres SERVER m OPTIONS (api_key 'sk-LEAK-0016')");

$node->safe_psql('postgres',
	"CREATE SERVER m FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url')");
$node->psql('postgres', $_) foreach @statements;
my @leaks = slurp_file($node->logfile) =~ /(.*sk-LEAK.*)/g;
is(join("\n", @leaks), '', 'no statement leaves its key in the log');

# The server repeats the key
my $key = 'sk-LEAK-of-PUBLIC-4711';
$node->safe_psql(
	'postgres', qq(
	DROP USER MAPPING IF EXISTS FOR postgres SERVER m;
	CREATE USER MAPPING FOR PUBLIC SERVER m OPTIONS (api_key '$key')));
foreach my $model (qw(status-401 status-401-long answer stream dribble))
{
	my $stream = $model =~ /stream|dribble/ ? 'true' : 'false';
	my $run = value("run_id FROM agno_arun('x', model => 'm:$model', stream => $stream)");
	is(wait_run($run), $model =~ /status/ ? 'ERROR' : 'COMPLETED', $model);
}
is(value("count(*) FROM agno.runs r WHERE r::text LIKE '%***%'"),
	5, 'answers that repeat the key are stored without it');
is(value("count(*) FROM (SELECT run_id,
			string_agg(data->>'content', '' ORDER BY seq) AS pieces
			FROM agno.run_events WHERE event = 'RunContent' GROUP BY 1) e
		JOIN agno.runs r USING (run_id) WHERE pieces = r.content"),
	2, 'pieces of a stream do not add up to the key');
foreach my $table (
	split /\n/, $node->safe_psql('postgres',
		"SELECT relname FROM pg_class WHERE relkind = 'r'
			AND relnamespace = 'agno'::regnamespace"))
{
	is(value("count(*) FROM agno.$table t WHERE t::text LIKE '%$key%'"),
		0, "the key is not in agno.$table");
}
@leaks = slurp_file($node->logfile) =~ /(.*sk-LEAK.*)/g;
# but for our own question
is(scalar(grep { !/LIKE/ } @leaks), 0, 'the key is not in the log');

# A long statement is looked at once, whatever is said about its rows, and whatever it says.
$node->safe_psql('postgres', q(
	CREATE TABLE rows (i int, t text);
	CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'row %', new.i; RETURN new; END $$;
	CREATE TRIGGER warn BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION warn()));
my %rows = (plain => 'x' x 5000, words => 'apap' x 1250);
foreach my $kind (sort keys %rows)
{
	my $long = "$PostgreSQL::Test::Utils::tmp_check/$kind.sql";
	append_to_file($long, "INSERT INTO rows VALUES (0, 'the api_key is one of the options of a server')" . join('', map { ", ($_, '$rows{$kind}')" } 1 .. 1000));
	my $began = time;
	system_or_bail('psql', '-Xq', '-d', $node->connstr('postgres') . " options='-c client_min_messages=error -c log_min_error_statement=error -c log_min_duration_statement=-1'", '-f', $long);
	cmp_ok(time - $began, '<', 5, "a thousand warnings about a statement of 5 MB take no time: $kind");
}

$node->stop;
$server->kill_kill;
done_testing();
