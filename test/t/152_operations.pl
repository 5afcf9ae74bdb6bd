# The statements of doc/operations.md are accepted as they stand there, by who is to run
# them; and what is said of runs that are tried again in bulk, of indexes and of dumps is so.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoDocs;
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', no_extension => 1, conf => 'agno_bg.unreachable_patience = 0');
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE analyst LOGIN');

my @statements = map { $_->[2] } grep { $_->[0] eq 'sql' } blocks(page('doc/operations.md'));
cmp_ok(scalar(@statements), '>=', 7, 'there are statements');
foreach my $sql (@statements)
{
	my ($first) = $sql =~ /^(.*)/;
	$sql =~ s/ \\watch 2/;/;
	my (undef, $err) = run_script($node, $sql);
	is($err, '', "accepted: $first");
}

# Who runs what
my $url = start_mock('mock');
add_mock_server($url);
is(outcome_as('app', 'CREATE SERVER s FOREIGN DATA WRAPPER agno_bg'), '42501', 'app creates no server');
$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN DATA WRAPPER agno_bg TO app');
is(outcome_as('app', 'CREATE SERVER s FOREIGN DATA WRAPPER agno_bg'), '', 'with USAGE on the wrapper, it does');
is(outcome_as('app', q(CREATE USER MAPPING FOR app SERVER mock OPTIONS (api_key 'sk-own'))), '',
	'a role with USAGE on a server gives its own key');
is(as('app', q(SELECT array_to_string(umoptions, ',') FROM pg_user_mappings WHERE srvname = 'mock' AND usename = 'app')),
	'api_key=sk-own', 'and can read it');
is(as('app', q(SELECT count(umoptions) FROM pg_user_mappings WHERE srvname = 'mock' AND usename = 'public')), 0,
	'but not the key of all');
is(outcome_as('app', q(ALTER ROLE app SET agno_bg.default_model = 'gpt-5-mini')), '22023', 'a default that is no model is refused');
is(outcome_as('app', q(ALTER ROLE app SET agno_bg.default_model = 'mock:echo')), '', 'a role sets its default model');
is(as('app', "SELECT model_provider FROM agno_arun('x') r JOIN agno.runs USING (run_id)"), '', 'not seen by the same statement');
is(as('app', "SELECT model_provider FROM agno.runs WHERE input = 'x'"), 'mock', 'its runs have that model');
is(outcome('ALTER EXTENSION agno_bg SET SCHEMA pg_catalog'), '0A000', 'the schema is not to be changed');

# In bulk
$node->safe_psql('postgres', q(
	CREATE SERVER away FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'http://127.0.0.1:1', retries '0');
	CREATE USER MAPPING FOR PUBLIC SERVER away OPTIONS (api_key 'sk-x')));
enqueue("away$_", 'away:echo', session_id => 'one') foreach 1 .. 3;
enqueue('wrong', 'status-400');
wait_run($_) foreach qw(away1 away2 away3 wrong);
$node->safe_psql('postgres', "ALTER SERVER away OPTIONS (SET base_url '$url')");
my ($again) = grep { /agno_requeue_run/ } @statements;
is($node->safe_psql('postgres', $again), 3, 'those of one type are tried again');
is(join(' ', map { wait_run($_) } qw(away1 away2 away3)), 'COMPLETED COMPLETED COMPLETED', 'and complete');
is(value("string_agg(run_id, ' ' ORDER BY finished_at) FROM agno.runs WHERE session_id = 'one'"), 'away1 away2 away3',
	'in the order in which they were accepted');
is(run_status('wrong'), 'ERROR', 'others are left alone');

# JSON that does not break on ERROR
my ($case) = map { $_->[2] } grep { $_->[2] =~ /CASE WHEN content_type/ } blocks(page('doc/reference.md'));
$node->safe_psql('postgres', q(SELECT agno_arun('j', model => 'mock:echo', run_id => 'json', output_schema =>
	'{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}')));
wait_run('json');
is(value("count(answer->'a') FROM (" . ($case =~ s/;//r) . ') x'), 1, 'content as JSON: runs in ERROR do no harm');
is(outcome("SELECT content::jsonb->'a' FROM agno.runs"), '22P02', 'without CASE, they do');

# An index on what never changes leaves updates in place.
is(value("count(*) FROM pg_indexes WHERE schemaname = 'agno' AND tablename = 'runs' AND indexdef ~ 'user_id|agent_id|owner|gin'"), 4,
	'the indexes are there');
$node->safe_psql('postgres', 'VACUUM FULL agno.runs; SELECT pg_stat_reset()');
$node->safe_psql('postgres', q(SELECT count(agno_arun('i', user_id => 'u' || i, model => 'mock:echo')) FROM generate_series(1, 50) i));
completed('i', 50);
$node->poll_query_until('postgres', q(SELECT n_tup_upd >= 100 FROM pg_stat_user_tables WHERE relid = 'agno.runs'::regclass));
cmp_ok(value(q(n_tup_hot_upd::float8 / n_tup_upd FROM pg_stat_user_tables WHERE relid = 'agno.runs'::regclass)), '>', 0.5,
	'most updates are in place with the indexes');

# What a dump has
my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump";
command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-f', $dump, 'postgres' ], 'pg_dump succeeds');
my $text = slurp_file($dump);
like($text, qr/^COPY agno\.prices .*\nopenai\tgpt-5-mini/m, 'a dump has the prices');
like($text, qr/^GRANT ALL ON FUNCTION public\.agno_arun\(.* TO app;$/m, 'and what has been granted');
unlike($text, qr/CREATE (POLICY|INDEX)/, 'but no policies and indexes on the tables of agno_bg');

$node->stop;
done_testing();
