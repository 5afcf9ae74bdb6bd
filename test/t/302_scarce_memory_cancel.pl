# A run is cancelled whose tools have returned more than there is memory for: others go on
# meanwhile, and it ends CANCELLED.
# Fault injected: the runner may take 30 MB more, while a run waits for a tool that has 40 MB
# of results.
# Waits: for a cancel that is tried again after 30 s.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_tool_result_size = '1MB'");
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
$node->safe_psql('postgres', 'CREATE SCHEMA t AUTHORIZATION greedy');
as('greedy', q{
	CREATE FUNCTION t.held() RETURNS text LANGUAGE sql AS $$ SELECT pg_advisory_xact_lock(1)::text $$;
	CREATE FUNCTION t.large() RETURNS text LANGUAGE sql AS $$ SELECT repeat('0123456789abcde ', 64000) $$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('large', 'mock:tools', '{t.held,t.large}')});

my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(1)');
call_tools('large', 'large', [ [ (['large']) x 40 ], [ ['held'] ] ], role => 'greedy');
wait_until('it to call the second tool', sub { value(q(count(*) FROM agno.tool_calls WHERE run_id = 'large' AND tool = 'held')) });
as('other', q(CALL agno_run('x', model => 'mock:echo')));

my $runner = runner_pid();
system_or_bail('prlimit', '--pid', $runner, '--as=' . (status_of($runner, 'VmSize') + 30_000) * 1024 . ':unlimited');
as('greedy', q(SELECT agno_cancel_run('large')));
my $longest = longest_call('other', sub { value("finished_at IS NOT NULL FROM agno.runs WHERE run_id = 'large'") eq 't' });
note("others waited for $longest s");
cmp_ok(logged(qr/out of memory/), '>', 0, 'the memory was too little');
cmp_ok($longest, '<', 10, 'runs of others do not wait for long');
is(run_status('large'), 'CANCELLED', 'the run ends');
is(runner_pid(), $runner, 'in the same runner');

system_or_bail('prlimit', '--pid', $runner, '--as=unlimited:unlimited');
enqueue('after', 'echo', role => 'greedy');
expect_run('after', { status => 'COMPLETED' }, 'all goes on');

$lock->quit;
$node->stop;
done_testing();
