# A DBA's deferred triggers refuse, at the commit, what the runner does because of the clock:
# that a call which has expired is rejected, and that a scheduled run becomes due; and what it notes of
# runs in flight. It is no run's fault that happens to start or to end in the same transaction: others go on as before, and what
# was refused when the triggers are gone.
# Waits: for pauses after failures.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use List::Util qw(max);
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user(qw(app other));
$node->safe_psql('postgres', 'CREATE SCHEMA t AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION t.refund() RETURNS text LANGUAGE sql AS $$ SELECT 'yes' $$;
	INSERT INTO agno.tools (tool, function, requires_confirmation, expires_after) VALUES ('refund', 't.refund', true, '2 s');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('asks', 'mock:tools', '{refund}')});

# A trigger that refuses updates of this table when a condition holds.
sub refuse_later
{
	my ($table, $condition) = @_;

	$node->safe_psql('postgres', qq(
		CREATE FUNCTION refuse_$table() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
			IF $condition THEN RAISE EXCEPTION 'not in $table'; END IF; RETURN NULL; END \$\$;
		CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON agno.$table DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_$table()));
}

# Another role has one run after the other meanwhile, until this is in the log and some more.
sub others_go_on
{
	my ($message) = @_;
	my $longest = longest_call('other', sub { logged($message) });

	$longest = max($longest, calls_take('other', 1)) foreach 1 .. 30;
	ok($longest < 2.5, 'another role does not wait') || diag("$longest s: $message");
	is(value(q(count(*) FROM agno.runs WHERE owner = 'other'::regrole AND status <> 'COMPLETED')), 0, 'and none of its runs is refused for it');
}

refuse_later('requirements', 'NEW.decision IS NOT NULL');
call_tools('expires', 'asks', [ [ ['refund'] ] ], role => 'app');
others_go_on('could not reject the calls of run "expires"');
is(run_status('expires'), 'PAUSED', 'the run waits still');

refuse_later('run_queue', q(OLD.state = 's' AND NEW.state <> 's'));
enqueue('scheduled', 'mock:echo', role => 'app', run_at => \q(now() + interval '1 s'));
others_go_on('does not look for scheduled runs');
is(run_status('scheduled'), 'PENDING', 'the run is scheduled still');

$node->safe_psql('postgres', 'DROP TRIGGER refuse ON agno.requirements; DROP TRIGGER refuse ON agno.run_queue; DROP FUNCTION refuse_run_queue');
expect_run('scheduled', { status => 'COMPLETED' }, 'it becomes due when nothing is in its way');
as('app', q(SELECT agno_cancel_run('expires')));
expect_run('expires', { status => 'CANCELLED' }, 'and the other can be cancelled');

refuse_later('run_queue', q(NEW.state = 'x' AND NEW.claimed AND NEW.owner = 'app'::regrole));
refuse_later('run_requests', q(NEW.response_id IS NOT NULL AND NEW.owner = 'app'::regrole));
enqueue('long', 'mock:gate', role => 'app');
others_go_on('does not look for runs that have been in flight');
enqueue('background', 'mock:work-20000', role => 'app', model_options => '{"background": true}');
others_go_on('does not look for ids of responses');
my $runner = runner_pid();
# Runs with two responses each, of which no id can be stored
as('app', q(SELECT count(agno_arun('again ' || repeat('x', 40 * i), model => 'mock:misfit-2', run_id => 'again' || i, model_options => '{"background": true}',
	output_schema => '{"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": false}')) FROM generate_series(1, 100) i));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 100 FROM agno.runs WHERE run_id ~ '^again' AND error ->> 'type' = 'output_schema')), 'runs end whose ids are not stored');
is(scalar(grep { ($_->{body}{model} // '') eq 'misfit-2' } mock_requests('mock')), 200, 'of two responses each');
calls_take('other', 30);
$node->safe_psql('postgres', 'DROP TRIGGER refuse ON agno.run_queue; DROP TRIGGER refuse ON agno.run_requests');
ok($node->poll_query_until('postgres', q(SELECT response_id IS NOT NULL FROM agno.run_requests WHERE run_id = 'background')), 'the id of a response is stored when nothing is in its way');
is(runner_pid(), $runner, 'by the runner that had it all the time');
as('app', q(SELECT agno_cancel_run('background')));
open_gate();
expect_run('long', { status => 'COMPLETED' }, 'and the run in flight goes on');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
