# A server that sends tickets of TLS faster than they are understood takes the runner no
# longer than anything else that arrives, though OpenSSL itself would read on as long as
# there are some: instead of an answer, and on the idle connection after one. The server is
# mock/ticket_server.py.

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
my $node = new_node('main');
my $tickets = start_server('tickets', 'ticket_server.py', "$dir/cert.pem", "$dir/key.pem", 15);
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
$node->safe_psql('postgres', qq(
	CREATE SERVER tickets FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-responses', base_url '$tickets', ca_file '$dir/cert.pem', retries '0');
	GRANT USAGE ON FOREIGN SERVER tickets TO greedy));
as('other', q(CALL agno_run('x', model => 'mock:echo')));

# How long another role waits, at most, until this run has ended.
sub others_wait
{
	my ($run) = @_;
	my $longest = longest_call('other', sub { value("finished_at IS NOT NULL FROM agno.runs WHERE run_id = '$run'") eq 't' });

	note("another role waited for $longest s");
	return $longest;
}

enqueue('now', 'tickets:now', role => 'greedy');
cmp_ok(others_wait('now'), '<', 3, 'others do not wait for a flood of tickets');
expect_run('now', { status => 'ERROR', "error->>'type'" => 'too_large' }, 'which is ended');

# The second may be sent on the idle connection, or not.
foreach my $run ('idle-1', 'idle-2', 'idle-3')
{
	enqueue($run, 'tickets:idle', role => 'greedy');
	cmp_ok(others_wait($run), '<', 3, 'nor for one on an idle connection');
}
expect_run('idle-1', { status => 'COMPLETED' }, 'what comes before it is an answer');

$node->stop;
done_testing();
