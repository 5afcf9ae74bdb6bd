# A role whose runs take long, for a while, has its share of the slots all the same.
# Fault injected: a trigger takes its time for each run of a role, and is dropped again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_concurrent_runs = 20");
add_mock_server(start_mock('mock'));
make_user('many', 'slow');
$node->safe_psql('postgres', q{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_sleep(0.05); RETURN NEW; END $$;
	CREATE TRIGGER slow BEFORE UPDATE ON agno.runs FOR EACH ROW
		WHEN (pg_get_userbyid(NEW.owner::oid) = 'slow' AND NEW.status = 'COMPLETED') EXECUTE FUNCTION slow();
	ALTER TABLE agno.runs ENABLE ALWAYS TRIGGER slow});
my $busy = keep_busy('many', 'busy');
as('slow', "SELECT count(agno_arun('x', model => 'mock:slow-20')) FROM generate_series(1, 40)");
$node->poll_query_until('postgres', "SELECT count(*) = 40 FROM agno.runs WHERE owner = 'slow'::regrole AND status = 'COMPLETED'")
  or die 'they do not complete';
$busy->kill_kill;
$node->safe_psql('postgres', 'DROP TRIGGER slow ON agno.runs');

configure(paused => 'on');
as('many', q(SELECT count(agno_arun('turn', model => 'mock:slow-20')) FROM generate_series(1, 400)));
as('slow', q(SELECT count(agno_arun('turn', model => 'mock:slow-20')) FROM generate_series(1, 100)));
configure(paused => 'off');
$node->poll_query_until('postgres',
	"SELECT count(*) = 500 FROM agno.runs WHERE input = 'turn' AND status = 'COMPLETED'")
  or die 'they do not complete';
my $before = value("count(*) FROM agno.runs WHERE input = 'turn' AND owner = 'many'::regrole AND finished_at <
	(SELECT percentile_disc(0.9) WITHIN GROUP (ORDER BY finished_at) FROM agno.runs
		WHERE input = 'turn' AND owner = 'slow'::regrole)");
note("$before runs of the other role before nine tenths of its own");
cmp_ok($before, '<', 340, 'a role that is slow has its share of the slots');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
