# There are fewer processes than agno_bg.max_tool_workers: roles take turns with those
# that there are.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "max_worker_processes = 8\nmax_parallel_workers = 0\n");
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
foreach my $database ('other', 'third')
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION agno_bg');
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM agno.workers WHERE kind = 'runner' AND database = '$database'"), "$database has a runner");
}
$node->safe_psql('postgres', q(CREATE FUNCTION nap() RETURNS text LANGUAGE sql AS $$ SELECT 'slept' || pg_sleep(0.05)::text $$));
as($_, "INSERT INTO agno.agents (agent_id, model, tools) VALUES ('$_', 'mock:tools', '{public.nap}')") foreach qw(app boss);
as('app', q(SELECT count(agno_arun('{"calls": [[{"name": "nap", "arguments": {}}]]}', 'app')) FROM generate_series(1, 1000)));
ok($node->poll_query_until('postgres', q(SELECT count(*) > 20 FROM agno.tool_calls WHERE status = 'completed')), 'a role has all there are');
cmp_ok(value(q(count(*) FROM agno.workers WHERE kind = 'tool worker')), '<', 4, 'which are fewer than there may be');
my $start = time;
call_tools('boss', 'boss', [ [ ['nap'] ] ], role => 'boss');
expect_run('boss', { status => 'COMPLETED', content => 'Results: slept' }, 'another one gets one');
cmp_ok(time - $start, '<', 8, 'soon');
cmp_ok(value(q(count(*) FROM agno.runs WHERE owner = 'app'::regrole AND status <> 'COMPLETED')), '>', 0, 'before the first has no more to do');
$node->stop;
done_testing();
