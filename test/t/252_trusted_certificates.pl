# The certificates of ca_file are read once, not for each connection, of which many may be
# opened at a time, which others would wait for; they are read again once the file has
# changed; and one that cannot be read is told.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use POSIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
make_certificate();
my $server_certificate = slurp_file("$dir/cert.pem");
my $url = start_mock('tls', '--tls-cert', "$dir/cert.pem", '--tls-key', "$dir/key.pem");
make_certificate();
my $other_certificate = slurp_file("$dir/cert.pem");

# As many as a system trusts, and more.
append_to_file("$dir/ca.pem", $other_certificate x 500 . $server_certificate);
my $node = new_node('main');
add_mock_server($url, name => 'large', options => ", ca_file '$dir/ca.pem', retries '0'");
add_mock_server($url, name => 'tls', options => ", ca_file '$dir/one.pem', retries '0'");

enqueue('opens', 'large:echo');
expect_run('opens', { status => 'COMPLETED' }, 'the server is trusted');
my $runner = runner_pid();
my $before = cpu_of($runner);
$node->safe_psql('postgres', "SELECT count(agno_arun('x', run_id => 'many-' || i, model => 'large:slow-1000')) FROM generate_series(1, 100) i");
ok($node->poll_query_until('postgres', "SELECT count(*) = 100 FROM agno.runs WHERE run_id ~ '^many' AND status = 'COMPLETED'"), 'by a hundred connections');
my $took = cpu_of($runner) - $before;
note("which took $took s");
cmp_ok($took, '<', 1, 'it is not read for each of them');

# A connection that is there is used on: a new one is opened beside one that is in use.
sub result
{
	my ($run) = @_;
	enqueue("$run-$_", 'tls:slow-500') foreach 1 .. 2;
	wait_run("$run-$_") foreach 1 .. 2;
	return value("string_agg(status || coalesce(' ' || (error->>'message'), ''), '; ' ORDER BY run_id) FROM agno.runs WHERE run_id ~ '^$run'");
}

like(result('none'), qr/ERROR .*certificates cannot be read from "[^"]*one.pem".*; ERROR/, 'a file that is not there is told');
append_to_file("$dir/one.pem", "no certificate\n");
like(result('nonsense'), qr/ERROR .*certificates cannot be read from/, 'and one that has none in it');
unlink "$dir/one.pem";
append_to_file("$dir/one.pem", $other_certificate x 500 . "-----BEGIN CERTIFICATE-----\nnone\n");
$before = cpu_of($runner);
$node->safe_psql('postgres', "SELECT count(agno_arun('x', run_id => 'broken-' || i, model => 'tls:echo')) FROM generate_series(1, 100) i");
ok($node->poll_query_until('postgres', "SELECT count(*) = 100 FROM agno.runs WHERE run_id ~ '^broken' AND status = 'ERROR'"), 'or that is broken');
$took = cpu_of($runner) - $before;
note("which took $took s");
cmp_ok($took, '<', 1, 'and is not read for each of them, either');
unlink "$dir/one.pem";
POSIX::mkfifo("$dir/one.pem", 0600) or die $!;
like(result('pipe'), qr/ERROR .*certificates cannot be read from/, 'nor does anybody wait for a pipe');
unlink "$dir/one.pem";
append_to_file("$dir/one.pem", $other_certificate);
like(result('other'), qr/ERROR .*certificate.*; ERROR/, 'another certificate is not enough');
unlink "$dir/one.pem";
append_to_file("$dir/one.pem", $other_certificate . $server_certificate);
is(result('right'), 'COMPLETED; COMPLETED', 'a file that has changed is read again');

$node->stop;
done_testing();
