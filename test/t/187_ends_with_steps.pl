# Runs with large steps end without being started, all at once, as their model server has
# been dropped: the runner reads of them what a turn may have.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my ($runs, $node) = (60, new_node('main'));
my $url = start_mock('mock');
add_mock_server($url);
make_user('app', 'boss');
$node->safe_psql('postgres', qq(CREATE SERVER own FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', base_url '$url');
	GRANT USAGE ON FOREIGN SERVER own TO app));
as('app', q(INSERT INTO agno.tools (tool, external_execution) VALUES ('ext', true);
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('asks', 'own:tools', '{ext}')));
as('app', "SELECT count(agno_arun(json_build_object('say', json_build_array(repeat('x', 3000000)), 'calls', '[[{\"name\": \"ext\", \"arguments\": {}}]]'::json)::text, 'asks')) FROM generate_series(1, $runs)");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'PAUSED'"), 'all wait for somebody');
PostgreSQL::Test::Utils::append_to_file('/proc/' . runner_pid() . '/clear_refs', '5');
my $before = status_of(runner_pid(), 'VmHWM');
$node->safe_psql('postgres', 'DROP SERVER own CASCADE');
as('app', q(SELECT count(agno_reject_call(run_id, NULL, 'no')) FROM agno.runs));
as('boss', q(CALL agno_run('x', model => 'mock:echo')));
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'ERROR'"), 'all end');
my $after = status_of(runner_pid(), 'VmHWM');
note($after - $before);
cmp_ok($after - $before, '<', 1000000, 'without all of them in memory (kB)');
$node->stop;
done_testing();
