# Agents that an agent has called all say much, and their runs end while the one above
# is locked: it reads in a turn what a turn may have, and goes on when it has all.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my ($children, $node) = (60, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
as('app', q(INSERT INTO agno.agents (agent_id, model, description) VALUES ('long', 'mock:huge-6000', 'says much');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('top', 'mock:tools', '{agent:long}')));
my $holder = $node->background_psql('postgres');
call_tools('top', 'top', [ [ map { [ long => { task => "x$_" } ] } 1 .. $children ] ], role => 'app');
ok($node->poll_query_until('postgres', "SELECT count(*) = $children FROM agno.runs WHERE parent_run_id = 'top'"), 'an agent calls many');
$holder->query_safe(q(BEGIN; SELECT agno_cancel_run('top')));
ok($node->poll_query_until('postgres', "SELECT count(*) = $children FROM agno.runs WHERE parent_run_id = 'top' AND status = 'COMPLETED'"), 'whose runs end while it is locked');
# The peak is counted from here on.
PostgreSQL::Test::Utils::append_to_file('/proc/' . runner_pid() . '/clear_refs', '5');
my $before = status_of(runner_pid(), 'VmHWM');
$holder->query_safe('ROLLBACK');
expect_run('top', { status => 'COMPLETED' }, 'then it goes on');
is(value(q(count(*) FROM agno.tool_calls WHERE run_id = 'top' AND status = 'completed' AND length(result) > 6000000)), $children, 'with all that they have said');
my $after = status_of(runner_pid(), 'VmHWM');
note($after - $before);
cmp_ok($after - $before, '<', 270000, 'without all of it in memory at once (kB)');
$holder->quit;
$node->stop;
done_testing();
