# What a streamed answer writes stays in proportion to it: content is refreshed
# when it has grown by a fraction, not with each piece. It does grow, and the pieces
# are the whole.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('main', conf => "autovacuum = off\nfull_page_writes = off");
my $base = "$PostgreSQL::Test::Utils::tmp_check/long";
my $server = IPC::Run::start(
	[ 'python3', "$FindBin::Bin/../mock/indiscreet_server.py", "$base.port" ],
	'<', '/dev/null', '>', "$base.out", '2>&1');
wait_until('the server', sub { -s "$base.port" });
my $url = 'http://127.0.0.1:' . (slurp_file("$base.port") =~ s/\s//gr) . '/v1';
$node->safe_psql('postgres',
	"CREATE SERVER m FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url');
	ALTER TABLE agno.runs ALTER content SET STORAGE EXTERNAL");

# The answer is 500 pieces of 250 bytes in five seconds.
my $before = value('pg_current_wal_insert_lsn()');
$node->safe_psql('postgres',
	"SELECT agno_arun('x', model => 'm:long-500', stream => true, run_id => 'long')");
my %lengths;
while (run_status('long') ne 'COMPLETED')
{
	$lengths{ value("coalesce(length(content), 0) FROM agno.runs WHERE run_id = 'long'") } = 1;
	usleep(50_000);
}
my $length = value("length(content) FROM agno.runs WHERE run_id = 'long'");
my $written = value("pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$before')");
note("$length bytes wrote $written bytes of WAL; "
	  . scalar(keys %lengths) . ' lengths were seen');
is($length, 125000, 'the answer is whole');
cmp_ok($written, '<', 30 * $length,
	'WAL of a stream stays in proportion to its length');
cmp_ok(scalar(keys %lengths), '>', 8, 'content grows while the run goes on');
is(value("string_agg(data->>'content', '' ORDER BY seq) =
		(SELECT content FROM agno.runs WHERE run_id = 'long')
		FROM agno.run_events WHERE event = 'RunContent'"),
	't', 'the pieces of the stream add up to the answer');

$node->stop;
$server->kill_kill;
done_testing();
