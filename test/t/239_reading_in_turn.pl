# Answers whose chunks have a byte each take long to be read: others are not kept waiting by
# all of one role's. The server is mock/flooding_server.py.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (100, new_node('main'));
my $flood = start_flood('flood');
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
$node->safe_psql('postgres', qq(
	CREATE SERVER flood FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', base_url '$flood', retries '0');
	GRANT USAGE ON FOREIGN SERVER flood TO greedy));
as('other', q(CALL agno_run('x', model => 'mock:echo')));
as('greedy', "SELECT count(agno_arun('x', model => 'flood:chunks', timeout => '15 s')) FROM generate_series(1, $runs)");
my $longest = longest_call('other', sub { value("count(*) = $runs FROM agno.runs WHERE owner = 'greedy'::regrole AND status = 'ERROR'") eq 't' });
note("another waited for $longest s");
cmp_ok($longest, '<', 6, 'another role waits for a piece of a few of them');
pass('they end');
$node->stop;
done_testing();
