# All processes are tool workers whose tools have been given hours: the runner of another
# database gets one of them, soon after agno_bg.tool_timeout.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "max_worker_processes = 7\nmax_parallel_workers = 0\nagno_bg.tool_timeout = 3s\n");
my $url = start_mock('mock');
add_mock_server($url);
make_user('app', 'boss');
$node->safe_psql('postgres', q(CREATE FUNCTION nap() RETURNS text LANGUAGE sql AS $$ SELECT 'slept' || pg_sleep(36000)::text $$));
foreach my $role (qw(app boss))
{
	as($role, qq(INSERT INTO agno.tools (tool, function, timeout) VALUES ('long_$role', 'public.nap', '10 hours');
		INSERT INTO agno.agents (agent_id, model, tools) VALUES ('$role', 'mock:tools', '{long_$role}');
		SELECT count(agno_arun('{"calls": [[{"name": "long_$role", "arguments": {}}]]}', '$role', timeout => '10 hours')) FROM generate_series(1, 10)));
}
ok($node->poll_query_until('postgres', q(SELECT count(*) = 4 FROM agno.workers WHERE kind = 'tool worker' AND state = 'busy')), 'no process is left');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION agno_bg');
add_mock_server($url, database => 'other');
my $start = time;
$node->safe_psql('other', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'x')));
is(wait_run('x', 'other'), 'COMPLETED', 'another database is served');
cmp_ok(time - $start, '<', 20, 'soon');
$node->stop;
done_testing();
