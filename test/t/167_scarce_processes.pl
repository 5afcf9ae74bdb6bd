# There are fewer processes than agno_bg.max_tool_workers: roles take turns with those
# that there are. Nobody waits longer for one than a call of another role may take, for the
# process of a worker that has left has ended a moment later.

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

as('app', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE finished_at IS NULL));
$node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.workers WHERE kind = 'tool worker')));
configure(tool_timeout => '5 s');
$node->safe_psql('postgres', q(CREATE FUNCTION night() RETURNS text LANGUAGE sql AS $$ SELECT 'slept' || pg_sleep(60)::text $$));
as('app', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('night', 'mock:tools', '{public.night}')));
as('app', q(SELECT count(agno_arun('{"calls": [[{"name": "night", "arguments": {}}]]}', 'night')) FROM generate_series(1, 40)));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 3 FROM agno.workers WHERE kind = 'tool worker' AND state = 'busy')), 'a role has all there are, for long calls');
$start = time;
call_tools('night', 'boss', [ [ ['nap'] ] ], role => 'boss');
expect_run('night', { status => 'COMPLETED', content => 'Results: slept' }, 'another one gets one');
note('after ' . (time - $start) . ' s');
cmp_ok(time - $start, '<', 20, 'when the time of a call is over, and not of all');
$node->stop;
done_testing();
