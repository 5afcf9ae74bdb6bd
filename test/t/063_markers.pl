# Cancels of runs that do not exist are no flood without a bound: a role has at
# most so many markers, others are not concerned, and the letters about them are
# read in linear time.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user(qw(a b));

as('b',
	"SELECT count(agno_cancel_run('m' || i)) FROM generate_series(1, 10000) i");
my ($ret, $out, $err) = $node->psql(
	'postgres', "\\set VERBOSITY verbose\nSELECT agno_cancel_run('one more')",
	extra_params => [ '-U', 'b' ]);
like($err, qr/53400: .*HINT/s, 'a role has at most 10,000 markers');
is(as('a', "SELECT agno_cancel_run('of a')"),
	'f', 'another role may leave some all the same');
enqueue('of a', 'echo', role => 'a');
is(run_status('of a'), 'CANCELLED',
	'the marker of another role cancels its run');

my $start = time;
$node->safe_psql('postgres',
	"SELECT count(agno_cancel_run('s' || i)) FROM generate_series(1, 20000) i");
ok( $node->poll_query_until('postgres',
		'SELECT NOT EXISTS (SELECT FROM agno.run_signals)'),
	'the runner reads 20,000 signals');
cmp_ok(time - $start, '<', 20, 'reading 20,000 signals takes less than 20 s');
is(wait_run($node->safe_psql('postgres',
			"SELECT run_id FROM agno_arun('y', model => 'mock:echo')")),
	'COMPLETED', 'runs of others go on meanwhile');

# One signal is enough for all cancels of a run, or of none, by one transaction; but one
# that is undone leaves none.
enqueue('hangs', 'hang');
ok($node->poll_query_until('postgres', "SELECT status = 'RUNNING' FROM agno.runs WHERE run_id = 'hangs'"), 'a run hangs');
foreach my $id ('hangs', 'never came')
{
	like($node->safe_psql('postgres', qq(
		BEGIN;
		SELECT count(agno_cancel_run('$id')) FROM generate_series(1, 1000);
		SELECT 'signals: ' || count(*) FROM agno.run_signals WHERE run_id = '$id';
		ROLLBACK)), qr/^signals: 1$/m, "$id: there is one signal");
	like($node->safe_psql('postgres', qq(
		BEGIN;
		SAVEPOINT s;
		SELECT agno_cancel_run('$id');
		ROLLBACK TO s;
		SELECT agno_cancel_run('$id');
		SELECT 'signals: ' || count(*) FROM agno.run_signals WHERE run_id = '$id';
		COMMIT)), qr/^signals: 1$/m, 'and one after a rollback to a savepoint');
}
is(wait_run('hangs'), 'CANCELLED', 'which ends the run');

$node->stop;
done_testing();
