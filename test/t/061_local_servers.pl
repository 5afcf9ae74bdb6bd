# What listens on the local host is not for everybody to talk to: the built-in
# servers that need no key are for superusers, until a foreign server of that name
# is created and its usage granted. A role that loses the right after it has
# enqueued a run gets an error for it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
make_user(qw(app chief));
$node->safe_psql('postgres', 'ALTER ROLE chief SUPERUSER');

foreach my $server (qw(ollama llamacpp vllm lmstudio))
{
	my ($ret, $out, $err) = $node->psql(
		'postgres', "\\set VERBOSITY verbose\nSELECT agno_arun('x', model => '$server:m')",
		extra_params => [ '-U', 'app' ]);
	like($err, qr/42501: .*HINT: .*CREATE SERVER $server /s,
		"$server is not for a role with usage, and the hint says what would help");
	is( $node->safe_psql('postgres',
			"BEGIN; SELECT status FROM agno_arun('x', model => '$server:m'); ROLLBACK"),
		'PENDING', "$server is for superusers");
}

$node->safe_psql(
	'postgres', qq(
	CREATE SERVER ollama FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-chat', base_url '$url');
	GRANT USAGE ON FOREIGN SERVER ollama TO app));
like(
	as('app', "CALL agno_run('x', model => 'ollama:echo')"),
	qr/COMPLETED/,
	'a server that is defined, and granted, is for the role');

$node->safe_psql('postgres', q(
	SET ROLE chief;
	SELECT agno_arun('x', model => 'vllm:m', run_id => 'demoted',
		run_at => clock_timestamp() + interval '1 s');
	RESET ROLE;
	ALTER ROLE chief NOSUPERUSER));
is(wait_run('demoted'), 'ERROR', 'who is no superuser any more');
like(value("content FROM agno.runs WHERE run_id = 'demoted'"),
	qr/permission denied for built-in model server "vllm"/,
	'is refused when the run starts');

$node->stop;
done_testing();
