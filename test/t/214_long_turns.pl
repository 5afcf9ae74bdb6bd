# What is to be stored of one role takes long, for each of its runs: turns with many of
# them are undone and made shorter, and the role lets others go first for as long as it
# has had the runner. And what fails in a turn without being about a run keeps nobody
# else waiting.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my ($runs, $node) = (40, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');

sub wait_for_logged
{
	my ($pattern) = @_;
	my $deadline = time + 60;
	select undef, undef, undef, 0.05 until logged($pattern) || time > $deadline;
	return logged($pattern);
}

# The longest that a run of boss takes, of so many.
sub longest
{
	my ($count) = @_;
	my $longest = 0;
	for (1 .. $count)
	{
		my $start = time;
		as('boss', q(CALL agno_run('x', model => 'mock:echo')));
		$longest = time - $start if time - $start > $longest;
	}
	note($longest);
	return $longest;
}

# As slow as what is large may be.
slow_runs('app', 'COMPLETED', 0.3);
as('app', "SELECT count(agno_arun('x', model => 'mock:echo')) FROM generate_series(1, $runs)");
cmp_ok(longest(5), '<', 4, 'a run of another role takes a few of those moments, not all');
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE owner = 'app'::regrole AND status = 'COMPLETED'"), 'all are stored in the end');
slow_runs('app', 'COMPLETED', 1.2);
as('app', "SELECT count(agno_arun('longer', model => 'mock:echo')) FROM generate_series(1, 12)");
ok($node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM agno.runs WHERE input = 'longer' AND status = 'COMPLETED')), 'others take longer');
cmp_ok(longest(2), '<', 8, 'still not all of them');
slow_runs('app', 'COMPLETED', 0.3);
ok($node->poll_query_until('postgres', q(SELECT count(*) = 12 FROM agno.runs WHERE input = 'longer' AND status = 'COMPLETED')), 'all are stored again');
is(value('count(*) FROM agno.runs WHERE attempt > 1'), 0, 'none was sent twice');
is(logged(qr/ERROR/), 0, 'and nothing in the log says otherwise');

slow_runs('app', 'RUNNING', 0.3);
my $busy = keep_busy('boss', 'z');
as('app', "SELECT count(agno_arun('start', model => 'mock:echo')) FROM generate_series(1, 5)");
ok($node->poll_query_until('postgres', q(SELECT count(*) = 5 FROM agno.runs WHERE input = 'start' AND status = 'COMPLETED')), 'what takes long to start is started, however busy others are');
$busy->kill_kill;

$node->safe_psql('postgres', q{DROP TRIGGER slow ON agno.runs;
	CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'it % fails', TG_ARGV[0]; END $$});
as('app', q(INSERT INTO agno.tools (tool, external_execution, expires_after) VALUES ('ext', true, '4 s');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('asks', 'mock:tools', '{ext}')));
call_tools('asks', 'asks', [ [ ['ext'] ] ], role => 'app');
is(wait_run('asks'), 'PAUSED', 'a run waits for somebody');
$node->safe_psql('postgres', q(CREATE TRIGGER fails BEFORE UPDATE ON agno.requirements FOR EACH ROW EXECUTE FUNCTION fails('to be rejected');
	ALTER TABLE agno.requirements ENABLE ALWAYS TRIGGER fails));
ok(wait_for_logged(qr/could not reject the calls of run "asks"/), 'which cannot be told that nobody came');
cmp_ok(longest(20), '<', 3, 'others do not wait for that');
is(value(q(run_at > clock_timestamp() + '50 min'::interval FROM agno.run_queue WHERE run_id = 'asks')), 't', 'it is looked at again later');
$node->safe_psql('postgres', 'DROP TRIGGER fails ON agno.requirements; UPDATE agno.run_queue SET run_at = clock_timestamp()');
as('boss', q(CALL agno_run('x', model => 'mock:echo')));
expect_run('asks', { status => 'COMPLETED' }, 'and told when that is possible');

$node->safe_psql('postgres', q(CREATE TRIGGER fails BEFORE UPDATE ON agno.run_queue FOR EACH ROW
		WHEN (OLD.state = 's' AND NEW.state = 'r') EXECUTE FUNCTION fails('to be due');
	ALTER TABLE agno.run_queue ENABLE ALWAYS TRIGGER fails));
enqueue('later', 'echo', role => 'app', run_at => \q(clock_timestamp() + '1 s'::interval));
ok(wait_for_logged(qr/does not look for scheduled runs/), 'a scheduled run cannot become ready');
cmp_ok(longest(20), '<', 3, 'others do not wait for that, either');
is(value(q(count(*) FROM agno.runs WHERE status = 'ERROR')), 0, 'and nobody is blamed for it');
$node->safe_psql('postgres', 'DROP TRIGGER fails ON agno.run_queue');
expect_run('later', { status => 'COMPLETED' }, 'which it does when it can');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
