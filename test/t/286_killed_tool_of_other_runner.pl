# A tool worker is killed in the middle of a call, and with that all processes of the server,
# where two runners share the runs: the first of them finds what has died, and the run goes on
# at once, whichever runner it is of.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.runners = 2\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(
	CREATE FUNCTION waits(k text) RETURNS text LANGUAGE sql AS $$SELECT 'done' FROM pg_sleep(1)$$;
	SET ROLE app;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('calls', 'mock:tools', '{public.waits}')));
my %seen;

# Whose a session is, is known when a run is in the queue.
foreach my $number (1 .. 30)
{
	my $run_id = "run-$number";

	last if keys %seen == 2;
	enqueue($run_id, 'mock:tools', role => 'app', agent_id => 'calls', timeout => '100 s',
		input => '{"calls": [[{"name": "waits", "arguments": {"k": "a"}}]]}');
	wait_until('its call', sub { value(q(count(*) FROM agno.workers WHERE kind = 'tool worker' AND state = 'busy')) == 1 });
	my $runner = value("runner FROM agno.run_queue WHERE run_id = '$run_id'");
	if (!$seen{$runner}++)
	{
		crash_by_killing(value(q(pid FROM agno.workers WHERE kind = 'tool worker' AND state = 'busy')));
		expect_run($run_id, { status => 'COMPLETED', attempt => 2, "finished_at - created_at < '20 s'" => 'true' }, "a run of runner $runner goes on");
	}
	else
	{
		expect_run($run_id, { status => 'COMPLETED' }, 'another one ends');
	}
}
is(join(' ', sort keys %seen), '0 1', 'runs of both runners were tried');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
