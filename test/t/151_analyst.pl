# Who may read all runs, as doc/operations.md has it: its two policies let a role read what
# all roles have run, with events, calls and decisions, and nothing else. It cancels, waits
# for, decides about and changes nothing of others. Without them, it sees its own runs.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoDocs;
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app', 'analyst');
my ($grant) = page('doc/operations.md') =~ /^```sql\n(CREATE POLICY analyst .*?)^```/ms;

as('app', q{
	INSERT INTO agno.agents (agent_id, model, tools, requires_confirmation) VALUES
		('asks', 'mock:tools', '{now,version}', '{now}')});
enqueue('ended', 'words-1', role => 'app', stream => \'true');
enqueue('failed', 'status-400', role => 'app');
enqueue('hangs', 'hang', role => 'app');
call_tools('asks', 'asks', [ [ ['version'] ], [ ['now'] ] ], role => 'app');
wait_run($_) foreach qw(ended failed asks);
wait_for_request('hangs');

my $seen = q(SELECT (SELECT count(*) FROM agno.runs), (SELECT count(*) FROM agno.sessions),
	(SELECT count(*) > 2 FROM agno.run_events), (SELECT count(*) FROM agno.tool_calls), (SELECT count(*) FROM agno.requirements),
	(SELECT count(*) FROM agno_get_run_output('ended')), (SELECT count(*) > 2 FROM agno_run_events('ended')));
is(as('analyst', $seen), '0|0|f|0|0|0|f', 'a role with usage sees nothing of others');
$node->safe_psql('postgres', $grant);
is(as('analyst', $seen), '4|4|t|2|1|1|t', 'one with the policies sees all runs, and what belongs to them');
is(as('analyst', 'SELECT sum(ended + running + paused) FROM agno.top'), 4, 'and their figures');
is(as('analyst', 'SELECT (SELECT count(*) FROM agno.agents), (SELECT count(*) FROM agno.approvals), (SELECT count(*) FROM agno.agno_runs)'),
	'0|0|0', 'but not their agents, nor what is for their owners');

my %refused = (
	"SELECT agno_cancel_run('hangs')" => 'f',
	"SELECT count(*) FROM agno_wait_run('ended', '1 s')" => 0,
	"SELECT agno_requeue_run('failed')" => '42704',
	"SELECT agno_approve_call('asks')" => qr/42501|42704/,
	"SELECT agno_reject_call('asks')" => qr/42501|42704/,
	"SELECT agno_continue_run('asks')" => qr/42501|42704/,
	"SELECT agno_arun('x', model => 'mock:echo', session_id => (SELECT session_id FROM agno.runs WHERE run_id = 'ended'))" => '42501',
	"UPDATE agno.runs SET content = 'x'" => '42501',
	"DELETE FROM agno.runs" => '42501',
	"UPDATE agno.agents SET model = 'mock:x' RETURNING 1" => '');
foreach my $sql (sort keys %refused)
{
	my $outcome = outcome_as('analyst', $sql);
	ref $refused{$sql} ? like($outcome, $refused{$sql}, $sql) : is($outcome, $refused{$sql}, $sql);
}
is(join(' ', map { run_status($_) } qw(ended failed hangs asks)), 'COMPLETED ERROR RUNNING PAUSED',
	'nothing has become of them');

$node->safe_psql('postgres', 'DROP POLICY analyst ON agno.runs; DROP POLICY analyst ON agno.sessions');
like(as('analyst', $seen), qr/^0\|0\|f\|0\|0\|0\|f$/, 'without the policies, it sees its own again');

$node->stop;
done_testing();
