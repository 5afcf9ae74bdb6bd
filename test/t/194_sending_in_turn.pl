# Runs that take long to begin, many of them at once, keep the runs of their own role
# waiting, and others for no more than a few of them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($count, $node) = (56, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');

# Of this schema, little is sent.
as('greedy', q(CREATE TEMP TABLE s AS SELECT ('{"json_schema": {"schema": {"type": "object"}}, "a": [' || repeat('"",', 500000) || '1]}')::jsonb AS s;)
	  . qq(SELECT count(agno_arun('large', model => 'mock:echo', output_schema => s, run_id => 'large-' || i)) FROM s, generate_series(1, $count) i));
wait_for_request('large');
enqueue('beside', 'echo', role => 'other');
as('greedy', "SELECT agno_cancel_run('large-$count')");
wait_for_request('beside');
my @inputs = map { $_->{body}{input}[-1]{content} } mock_requests('mock');
my ($before) = grep { $inputs[$_] eq 'beside' } 0 .. $#inputs;
note("$before of $count came before it");
cmp_ok($before, '<', 20, 'a run of another role is sent before most of one that begin slowly');
is(value("count(*) FROM generate_series(1, $count - 1) g, agno_wait_run('large-' || g) r WHERE r.status = 'COMPLETED' AND r.attempt = 1"), $count - 1,
	'all of which complete');
is(value("r.status FROM agno_wait_run('large-$count') r"), 'CANCELLED', 'but for one that is cancelled');
is(value("bool_and(b.started_at >= a.started_at) FROM agno.runs a JOIN agno.runs b ON b.created_at > a.created_at AND b.owner = a.owner WHERE a.status = 'COMPLETED' AND b.status = 'COMPLETED'"),
	't', 'in their order');
$node->stop;
done_testing();
