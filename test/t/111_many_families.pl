# A thousand agents with three others each, where no more than a hundred runs are in
# flight and several runners share the work: who waits for others takes no place of
# theirs, so all end. Then the same, crashed: the server is killed at random, and no
# child is there without its call, none twice, and nobody waits for one that has ended;
# and all are called back (on_complete), once each, those too that were cancelled.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_node('main', conf => "agno_bg.max_concurrent_runs = 100\nagno_bg.runners = 2\nagno_bg.max_tool_workers = 4");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE TABLE app.done (run_id text, status text);
	CREATE FUNCTION app.note(r agno.runs) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.done VALUES (r.run_id, r.status) $$;
	INSERT INTO agno.agents (agent_id, model, on_complete) VALUES ('leaf', 'mock:slow-20', 'app.note');
	INSERT INTO agno.agents (agent_id, model, tools, on_complete) VALUES ('boss', 'mock:tools', '{agent:leaf}', 'app.note');});

# Parents of these ids, each with three children in one answer.
sub start
{
	my ($kind, $count) = @_;

	as('app', qq{SELECT count(agno_arun(jsonb_build_object('id', '$kind-' || n, 'calls', jsonb_build_array((
		SELECT jsonb_agg(jsonb_build_object('name', 'leaf', 'arguments', jsonb_build_object('task', '$kind-' || n || '-' || c)))
		FROM generate_series(1, 3) c)))::text, agent_id => 'boss', run_id => '$kind-' || n)) FROM generate_series(1, $count) n});
}

sub check
{
	my ($kind, $count) = @_;

	is(value("count(*) FROM agno.runs WHERE run_id LIKE '$kind-%' AND status = 'COMPLETED'
		AND content = format('Results: You said: %s-1; You said: %s-2; You said: %s-3', run_id, run_id, run_id)"), $count, "$kind: all have the answers of theirs");
	is(value("count(*) FROM agno.runs k JOIN agno.runs p ON p.run_id = k.parent_run_id WHERE p.run_id LIKE '$kind-%'"), 3 * $count, "$kind: which there are three of for each");
	is(value("count(*) FROM (SELECT k.input FROM agno.runs k JOIN agno.runs p ON p.run_id = k.parent_run_id
		WHERE p.run_id LIKE '$kind-%' AND k.status = 'COMPLETED' GROUP BY k.input HAVING count(*) = 1) s"), 3 * $count, "$kind: once for each task");
	is(value("count(*) || ' ' || count(DISTINCT run_id) FROM app.done JOIN agno.runs r USING (run_id)
		WHERE coalesce(r.parent_run_id, run_id) LIKE '$kind-%' AND done.status = r.status::text"), 4 * $count . ' ' . 4 * $count, "$kind: each has been called back once");
	is($node->safe_psql('postgres', queue_violations()), '', "$kind: the queue is as it should be");
}

# What a statement gives as soon as the server is there: when it is to crash is not known.
sub insist
{
	my ($statement) = @_;
	my $rows;

	wait_until($statement, sub { !$node->psql('postgres', $statement, stdout => \$rows) });
	return $rows;
}

start('many', 1000);
ok(wait_through_crashes($node, q(SELECT NOT EXISTS (SELECT FROM agno.run_queue))), 'all end');
check('many', 1000);

start('crash', 150);
start('stop', 60);
for my $crash (1 .. 4)
{
	sleep(0.3 + rand(0.6));
	insist("SET ROLE app; SELECT agno_cancel_run('stop-' || n) FROM generate_series($crash, 60, 4) n");
	my $pid = insist(q(SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'agno_bg%' AND backend_type <> 'agno_bg launcher' ORDER BY random() LIMIT 1));
	next if $pid !~ /^\d+$/;
	kill 'KILL', $pid;
	wait_through_crashes($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	is_deeply([ grep { !/nobody is to call/ } split /\n/, insist(queue_violations()) ], [], "crash $crash: the queue is as it should be");
}
ok(wait_through_crashes($node, q(SELECT NOT EXISTS (SELECT FROM agno.run_queue))), 'all end after crashes');
check('crash', 150);

# What was cancelled meanwhile
is(value("count(*) FROM agno.runs r LEFT JOIN agno.runs p ON p.run_id = r.parent_run_id WHERE coalesce(p.run_id, r.run_id) LIKE 'stop-%'
	AND r.status NOT IN ('CANCELLED', 'COMPLETED')"), 0, 'none is left in flight');
is(value("count(*) FROM (SELECT r.run_id FROM agno.runs r LEFT JOIN agno.runs p ON p.run_id = r.parent_run_id LEFT JOIN app.done d ON d.run_id = r.run_id
	AND d.status = r.status::text WHERE coalesce(p.run_id, r.run_id) LIKE 'stop-%' GROUP BY 1 HAVING count(d.run_id) <> 1) s"), 0, 'all have been called back once');
done_testing();
