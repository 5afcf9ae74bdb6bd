# What a model server claims about tokens - more than there are, less than none,
# a half, a word - breaks nobody's statistics: each count is taken for the nearest
# that an answer can have, and sums do not overflow.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $base = "$PostgreSQL::Test::Utils::tmp_check/claims";
my $server = IPC::Run::start(
	[ 'python3', "$FindBin::Bin/../mock/indiscreet_server.py", "$base.port" ],
	'<', '/dev/null', '>', "$base.out", '2>&1');
wait_until('the server', sub { -s "$base.port" });
my $url = 'http://127.0.0.1:' . (slurp_file("$base.port") =~ s/\s//gr) . '/v1';
$node->safe_psql('postgres',
	"CREATE SERVER m FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url')");

$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(0, 39) i,
		agno_arun('x ' || i, model => 'm:tokens-' || i, session_id => 'one')));
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 40 FROM agno.runs WHERE status = 'COMPLETED'"),
	'all runs complete');
is(value(q(count(*) FROM agno.runs r, jsonb_each_text(r.metrics) m
		WHERE m.key LIKE '%\_tokens'
		AND NOT m.value::numeric BETWEEN 0 AND 1000000000000)),
	0, 'no count is negative, or beyond what an answer can have');
is(value('sum(total_tokens) > 0 FROM agno.stats'), 't', 'agno.stats can be read');
is(value(q((session_metrics->>'total_tokens')::numeric
		= (SELECT sum((metrics->>'total_tokens')::numeric) FROM agno.runs)
		FROM agno.sessions)),
	't', 'the session has the sum of the tokens');

# A hand, or an older version, may have left worse.
$node->safe_psql('postgres', q(
	UPDATE agno.runs SET metrics = jsonb_set(metrics, '{total_tokens}', '8000000000000000000')));
is(value('sum(total_tokens) > 8e18 FROM agno.stats'), 't',
	'agno.stats does not overflow');

$node->stop;
$server->kill_kill;
done_testing();
