# Rows of tables that only agno_bg writes are damaged by a hand, or a bad restore: tool workers do
# not crash, nor stop for others.
# Fault injected: the tools of a run are gone; rows have been looked at, and tried, as often as
# their columns can say.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.max_tool_workers = 0');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA t AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION t.one() RETURNS integer LANGUAGE sql RETURN 1;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('one', 'mock:tools', '{t.one}')});
call_tools($_, 'one', [ [ ['one'] ] ], role => 'app', timeout => $_ eq 'gone' ? '8s' : '60s') for qw(gone looked healthy);
$node->poll_query_until('postgres', 'SELECT count(*) = 3 FROM agno.tool_queue')
  or die 'the tools are not to be called';

# Somebody has a run locked, so that its turn is put off.
my $holder = $node->background_psql('postgres');
$holder->query_safe(q(BEGIN; SELECT FROM agno.runs WHERE run_id = 'looked' FOR UPDATE));
$node->safe_psql('postgres', q(
	UPDATE agno.run_requests SET tools = NULL WHERE run_id = 'gone';
	UPDATE agno.tool_queue SET looks = 32767 WHERE run_id = 'looked'));
configure(max_tool_workers => '4');
expect_run('healthy', { status => 'COMPLETED' }, 'a run beside them completes');
$node->poll_query_until('postgres', q(SELECT queued_at > now() FROM agno.tool_queue WHERE run_id = 'looked'))
  or die 'it is not put off';
$holder->query_safe('ROLLBACK');
like(wait_run('gone'), qr{COMPLETED|ERROR}, 'one without its tools ends');
is(wait_run('looked'), 'COMPLETED', 'one that was locked, too');
is(logged(qr/terminated by signal|out of range/), 0, 'no process has crashed or stopped');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
