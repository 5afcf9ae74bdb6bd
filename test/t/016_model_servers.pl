# Model servers: https with certificate checks, a private CA, options that are
# changed while runs go on, built-in servers from the environment, and servers
# that are dropped between acceptance and start.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
make_certificate();

my $url = start_mock('mock');
my $https = start_mock('tls', '--tls-cert', "$dir/cert.pem",
	'--tls-key', "$dir/key.pem");
(my $wrong_name = $https) =~ s/127\.0\.0\.1/localhost/;

$ENV{OPENAI_BASE_URL} = "$url/";
delete $ENV{OPENAI_API_KEY};
my $node = new_node('main');

sub result
{
	my ($name, $model) = @_;
	$node->safe_psql('postgres',
		"SELECT agno_arun('$name', model => '$model', run_id => '$name')");
	wait_run($name);
	return value("status, content FROM agno_get_run_output('$name')");
}

$node->safe_psql(
	'postgres', qq(
	CREATE SERVER trusted FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$https', ca_file '$dir/cert.pem', retries '0');
	CREATE SERVER untrusted FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$https', retries '0');
	CREATE SERVER wrong_name FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$wrong_name', ca_file '$dir/cert.pem',
			retries '0');
	CREATE SERVER plain_to_tls FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'https://127.0.0.1:1/v1', retries '0')));

is(result('tls', 'trusted:echo'), 'COMPLETED|You said: tls',
	'https works with a private CA');
like(result('ca', 'untrusted:echo'), qr/^ERROR\|.*certificate/,
	'a certificate of an unknown CA is refused');
like(result('name', 'wrong_name:echo'), qr/^ERROR\|.*(name|SSL)/,
	'a certificate for another name is refused');
is(value("error->>'type' FROM agno_get_run_output('ca')"),
	'connection',
	'a refused certificate is an error of type connection');

# Built-in, with the base URL of the environment, which ends in a slash
is(result('built-in', 'openai:echo'), 'COMPLETED|You said: built-in',
	'a built-in server is found without CREATE SERVER');
is(result('default', 'openai:gpt-5-mini'), 'COMPLETED|You said: default',
	'the default model is taken');
is( (mock_requests('mock', 'built-in'))[0]->{headers}{authorization},
	undef, 'no key is sent when there is none');
is((mock_requests('mock', 'built-in'))[0]->{path},
	'/v1/responses', 'a base URL that ends in a slash leads to the right path');

# A foreign server of the same name goes first.
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER openai FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$https', ca_file '$dir/cert.pem');
	CREATE USER MAPPING FOR PUBLIC SERVER openai
		OPTIONS (api_key 'k', organization 'org-1', project 'proj-1')));
is(result('mine', 'openai:echo'), 'COMPLETED|You said: mine',
	'a foreign server goes before a built-in one');
my ($request) = mock_requests('tls', 'mine');
is_deeply(
	[
		map { $request->{headers}{$_} }
		  qw(authorization openai-organization openai-project)
	],
	[ 'Bearer k', 'org-1', 'proj-1' ],
	'the headers of the foreign server are sent');

# Changes take effect with the next request.
$node->safe_psql('postgres',
	"ALTER SERVER openai OPTIONS (SET base_url '$url', DROP ca_file)");
result('changed', 'openai:echo');
is(scalar(mock_requests('mock', 'changed')), 1,
	'changed options hold for the next request');

# Dropped between acceptance and start
$node->safe_psql(
	'postgres', "
	SELECT agno_arun('dropped', model => 'trusted:echo', run_id => 'dropped',
		run_at => now() + interval '700 ms');
	DROP SERVER trusted");
is(wait_run('dropped'), 'ERROR', 'a run whose server is dropped ends in ERROR');
is(value("error->>'type', content
		FROM agno_get_run_output('dropped')"),
	'configuration|model server "trusted" does not exist',
	'the error says that the server does not exist');

# Without the environment
$node->safe_psql('postgres', 'DROP SERVER openai CASCADE');
configure(environment_keys => 'off');
$node->poll_query_until('postgres', 'SHOW agno_bg.environment_keys', 'off');
my ($ret, $out, $err) =
  $node->psql('postgres', "SELECT agno_arun('x')");
like($err, qr/model server "openai" does not exist.*HINT/s,
	'environment_keys = off forbids the built-in server');

# A key that is nowhere to be found
delete $ENV{OPENAI_BASE_URL};
configure(environment_keys => 'on');
$node->restart;
like(result('keyless', 'openai:gpt-5-mini'),
	qr/^ERROR\|no API key for model server "openai".*OPENAI_API_KEY.*CREATE SERVER openai FOREIGN.*api_key/,
	'a missing key is named');
$node->safe_psql('postgres', 'CREATE SERVER groq FOREIGN DATA WRAPPER agno_bg');
like(result('unmapped', 'groq:m'),
	qr/^ERROR\|no API key of role "postgres" for model server "groq"; run CREATE USER MAPPING FOR postgres SERVER groq/,
	'so is that of a role for a provider of its own');
$node->safe_psql('postgres', "ALTER SERVER groq OPTIONS (api 'openai-responses', base_url '$url')");
like(result('elsewhere', 'groq:echo'), qr/^COMPLETED/,
	'the same name with another address needs no key');

# Keep-alive: a thousand runs, fifty at a time, on as many connections.
configure(max_concurrent_runs => '50');
$node->safe_psql('postgres',
	"CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url');"
	  . "SELECT count(*) FROM generate_series(1, 1000) i, "
	  . "agno_arun('alive', model => 'mock:echo', run_id => 'alive' || i)");
$node->poll_query_until('postgres',
	"SELECT count(*) = 1000 FROM agno.runs
	WHERE input = 'alive' AND status = 'COMPLETED'");
my %connections =
  map { $_->{connection} => 1 } mock_requests('mock', 'alive');
cmp_ok(scalar(keys %connections), '<=', 60, 'connections are reused')
  or diag(scalar(keys %connections));

$node->stop;
done_testing();
