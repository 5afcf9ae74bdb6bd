# A role has streamed answers whose events take long to be read: each time, it leaves the
# runner to others for as long. So these wait for one such event, not for one at each step of
# their own runs. The server is mock/flooding_server.py.
# Alone: it measures how long others wait.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $flood = start_flood('flood');
my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
$node->safe_psql('postgres', qq(
	CREATE SERVER flood FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-responses', base_url '$flood', retries '0');
	GRANT USAGE ON FOREIGN SERVER flood TO greedy));
as('other', q(CALL agno_run('x', model => 'mock:echo')));

# How long another role waits, at most, while so many of them arrive.
sub others_wait
{
	my ($events) = @_;

	as('greedy', "SELECT count(agno_arun('x', run_id => '$events-' || i, model => 'flood:event-8', stream => true)) FROM generate_series(1, $events) i");
	return longest_call('other', sub { value("bool_and(finished_at IS NOT NULL) FROM agno.runs WHERE run_id LIKE '$events-%'") eq 't' });
}

my ($one, $many) = map { others_wait($_) } 1, 10;
note("others wait for $one s beside one, $many s beside ten");
cmp_ok($many, '<', 1.7 * $one + 0.1, 'others wait for one event, not for many');
is(value("string_agg(DISTINCT error->>'message', ' ') FROM agno.runs WHERE owner = 'greedy'::regrole"),
	'the stream ended before the answer did', 'all of which are read');

$node->stop;
done_testing();
