# One of the runs of a role whose runs take long cannot be stored at all: it is found, though
# turns for others, which go well, come between.
# Faults injected: a trigger takes its time for each run of a role, and refuses one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my ($runs, $node) = (60, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
$node->safe_psql('postgres', q{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_sleep(0.003); IF NEW.run_id = 'bad' THEN RAISE 'not this one'; END IF; RETURN NEW; END $$;
	CREATE TRIGGER slow BEFORE UPDATE ON agno.runs FOR EACH ROW
		WHEN (pg_get_userbyid(NEW.owner::oid) = 'app' AND NEW.status = 'COMPLETED') EXECUTE FUNCTION slow();
	ALTER TABLE agno.runs ENABLE ALWAYS TRIGGER slow});
my $busy = keep_busy('boss', 'busy', '-c', 4);
close_gate();
as('app', "SELECT count(agno_arun('x', model => 'mock:gate', run_id => CASE i WHEN 20 THEN 'bad' ELSE 'good' || i END)) FROM generate_series(1, $runs) i");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE owner = 'app'::regrole AND status = 'RUNNING'"), 'another waits for answers');
open_gate();
my $start = time;
expect_run('bad', { status => 'ERROR', "error ->> 'type'" => 'storage', "error ->> 'message'" => 'not this one' }, 'the one that cannot be stored is found');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 59 FROM agno.runs WHERE owner = 'app'::regrole AND status = 'COMPLETED')), 'the others are');
note(time - $start);
ok($busy->pumpable, 'while the first role is busy');
$busy->kill_kill;
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
