# An answer is not thrown away because another run cannot be started. Fault
# injected: a trigger of agno.runs refuses to start one run, in the turn in which
# the answer of another is to be stored; the runner is stopped meanwhile, so that
# both are there when it goes on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $gate = "$PostgreSQL::Test::Utils::tmp_check/mock.log.gate";
add_mock_server($node, start_mock('mock'));
$node->safe_psql('postgres', q(
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.status = 'RUNNING' AND NEW.input = 'refuse' THEN
			RAISE EXCEPTION 'this run is refused';
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER refuse BEFORE UPDATE ON agno.runs
		FOR EACH ROW EXECUTE FUNCTION refuse()));

foreach my $others (0, 20)
{
	unlink $gate;
	$node->safe_psql('postgres', "SELECT agno_arun('paid $others',
		model => 'mock:gate', run_id => 'paid$others')");
	wait_until('the request', sub { mock_requests('mock', "paid $others") });
	my ($request) = mock_requests('mock', "paid $others");
	my $pid = runner_pid($node);
	kill 'STOP', $pid;
	append_to_file($gate, 'open');
	wait_until('the answer', sub {
			grep { $_->{event} eq 'answered'
				  && $_->{number} == $request->{number} } mock_log('mock');
		});
	$node->safe_psql('postgres', "SELECT count(*)
		FROM generate_series(0, $others) i, agno_arun(
			CASE i WHEN 0 THEN 'refuse' ELSE 'x' END, model => 'mock:echo',
			run_id => CASE i WHEN 0 THEN 'refused$others'
				ELSE 'r${others}_' || i END)");
	my $start = time;
	kill 'CONT', $pid;
	is(wait_run($node, "paid$others"), 'COMPLETED',
		"an answer is stored, with a run that is refused and $others others");
	cmp_ok(time - $start, '<', 5, 'soon');
	is(wait_run($node, "refused$others"), 'ERROR', 'the refused one ends');
	ok( $node->poll_query_until('postgres', "SELECT count(*) = $others
			FROM agno.runs WHERE run_id ~ '^r${others}_'
			AND status = 'COMPLETED'"),
		'and the others complete');
}

$node->stop;
done_testing();
