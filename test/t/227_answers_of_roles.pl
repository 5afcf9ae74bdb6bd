# Large answers to many runs of one role, which come at once, take no more memory of the
# runner than the role may have: some of its runs fail, and say why, while those of
# others are executed. What is streamed counts as well. The server is
# mock/flooding_server.py.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $runs = 40;
my $flood = start_flood('flood');
my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
add_mock_server($flood, name => 'flood', options => ", retries '1'");

# So many runs whose answers come at once may take so much more memory, in MB.
sub crowd
{
	my ($kind, $stream, $most) = @_;

	replace_runner();
	as('other', q(CALL agno_run('x', model => 'mock:echo')));
	my $runner = runner_pid();
	my $before = status_of($runner, 'VmHWM');

	as('greedy', "SELECT count(agno_arun('x', run_id => '$kind' || i, model => 'flood:$kind-$runs', stream => $stream)) FROM generate_series(1, $runs) i");
	my $ended = "count(*) = $runs FROM agno.runs WHERE run_id ~ '^$kind' AND status IN ('COMPLETED', 'ERROR')";
	my $longest = longest_call('other', sub { value($ended) eq 't' });
	my $growth = (status_of($runner, 'VmHWM') - $before) / 1024;
	my $completed = value("count(*) FROM agno.runs WHERE run_id ~ '^$kind' AND status = 'COMPLETED'");

	note("$kind: $growth MB, $completed completed, others waited for $longest s");
	cmp_ok($growth, '<', $most, "$kind: they take no more memory than a role may have (MB)");
	cmp_ok($completed, '>', 0, 'some complete');
	cmp_ok($completed, '<', $runs, 'and some do not');
	is( value("string_agg(DISTINCT error::text, ', ') FROM agno.runs WHERE run_id ~ '^$kind' AND status = 'ERROR'"),
		'{"type": "too_large", "attempt": 1, "message": "the answers that the runs of this role receive at once take too much memory", "http_status": 200}',
		'as they say');
	is(runner_pid(), $runner, 'the runner goes on');
	enqueue("$kind-after", "flood:$kind-1", role => 'greedy', stream => $stream ? 'on' : 'off');
	expect_run("$kind-after", { status => 'COMPLETED' }, 'the role may go on afterwards');
}

crowd('large', 'false', 850);
crowd('pieces', 'true', 850);
is(value("string_agg(DISTINCT length(content)::text, ' ') FROM agno.runs WHERE run_id ~ '^pieces' AND status = 'COMPLETED'"),
	'15000000', 'what is streamed is whole');

# What comes without an event is kept as it is, as it may be an answer as a whole.
my $runner = runner_pid();
as('greedy', "SELECT count(agno_arun('x', run_id => 'comments' || i, model => 'flood:comments', stream => true)) FROM generate_series(1, 30) i");
ok($node->poll_query_until('postgres', "SELECT count(*) = 30 FROM agno.runs WHERE run_id ~ '^comments' AND status = 'ERROR'"), 'streams of nothing but comments end');
is(value("string_agg(DISTINCT error->>'type', ' ') FROM agno.runs WHERE run_id ~ '^comments'"), 'too_large', 'as too large');
is(runner_pid(), $runner, 'the runner goes on');

$node->stop;
done_testing();
