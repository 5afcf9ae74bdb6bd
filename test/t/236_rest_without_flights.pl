# A role whose runs only wait, and are not in flight, shares the runner all the same: when
# its signals take long, others have as much of the runner's time.
# Fault injected: a trigger takes its time for each run that leaves the queue.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (20, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
$node->safe_psql('postgres', q{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN OLD; END $$;
	CREATE TRIGGER slow BEFORE DELETE ON agno.run_queue FOR EACH ROW
		WHEN (pg_get_userbyid(OLD.owner::oid) = 'app') EXECUTE FUNCTION slow();
	ALTER TABLE agno.run_queue ENABLE ALWAYS TRIGGER slow});
as('app', "SELECT count(agno_arun('x', model => 'mock:echo', run_id => 'later' || i, run_at => now() + '1 day')) FROM generate_series(1, $runs) i");
my $busy = keep_busy('boss', 'busy');
as('app', "SELECT count(agno_cancel_run('later' || i)) FROM generate_series(1, $runs) i");
my $before = value(q(count(*) FROM agno.runs WHERE input = 'busy'));
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_queue WHERE owner = 'app'::regrole))), 'what a role has cancelled leaves the queue');
my $meanwhile = value(q(count(*) FROM agno.runs WHERE input = 'busy')) - $before;
$busy->kill_kill;
cmp_ok($meanwhile, '>', 5 * $runs, 'another, which has one run at a time, has had more than a turn between two of its signals');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
