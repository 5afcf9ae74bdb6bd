# A cancel and the end of the run race. Whoever comes first wins, and the
# answer of agno_cancel_run tells who it was: true means that the run ends
# CANCELLED, however late the cancel commits, and it never becomes COMPLETED.
# An open cancel stands in nobody else's way.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

# The answer arrives while the cancel is not committed yet.
my $canceller = $node->background_psql('postgres');
enqueue('held', 'slow-1000');
wait_for_request('held');
$canceller->query_safe('BEGIN');
is($canceller->query_safe("SELECT agno_cancel_run('held')"),
	't', 'the run is cancelled in an open transaction');
wait_for_answer('held');

# Meanwhile others work.
enqueue('other', 'echo');
is(wait_run('other'), 'COMPLETED',
	'other runs complete while a cancel is open');
is(run_status('held'), 'RUNNING',
	'a run stays RUNNING while its cancel is open');
$canceller->query_safe('COMMIT');
is(wait_run('held'), 'CANCELLED',
	'a run ends CANCELLED when its cancel commits');
is(value("content FROM agno_get_run_output('held')"),
	'You said: held',
	'the answer that had been received is kept');

# The same with a rollback: the answer is stored then.
enqueue('spared', 'slow-1000');
wait_for_request('spared');
$canceller->query_safe('BEGIN');
$canceller->query_safe("SELECT agno_cancel_run('spared')");
wait_for_answer('spared');
$canceller->query_safe('ROLLBACK');
is(wait_run('spared'),
	'COMPLETED', 'the answer is stored when the cancel is rolled back');

# A run that waits, locked by an open cancel, is passed by others.
configure(paused => 'on');
enqueue('first', 'echo');
$canceller->query_safe('BEGIN');
$canceller->query_safe("SELECT agno_cancel_run('first')");
configure(paused => 'off');
enqueue('second', 'echo');
is(wait_run('second'), 'COMPLETED',
	'other runs pass one that an open cancel has locked');
is(run_status('first'), 'PENDING',
	'a run that an open cancel has locked stays PENDING');
$canceller->query_safe('ROLLBACK');
is(wait_run('first'),
	'COMPLETED',
	'a run is executed when the cancel that had locked it is rolled back');
$canceller->quit;

# Hundreds of cancels at about the time of the answer: the promise of
# agno_cancel_run is kept each time.
$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 400) i, "
	  . "agno_arun('race', model => 'mock:slow-' || 1 + i % 60, run_id => 'race' || i)"
);
$node->safe_psql(
	'postgres', q(
	CREATE TABLE promises (run_id text, cancelled boolean);
	DO $$
	BEGIN
		FOR i IN 1..400 LOOP
			INSERT INTO promises
				SELECT 'race' || i, agno_cancel_run('race' || i);
			COMMIT;
		END LOOP;
	END $$));
$node->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM agno.runs WHERE status IN ('PENDING', 'RUNNING')");
is(value("count(*) FROM promises JOIN agno.runs USING (run_id)
		WHERE cancelled <> (status = 'CANCELLED')
		OR status NOT IN ('CANCELLED', 'COMPLETED')"),
	0,
	'each cancel tells the truth');
note $node->safe_psql('postgres',
	'SELECT cancelled, count(*) FROM promises GROUP BY 1');
is(value("count(*) FROM agno.run_queue"),
	0,
	'nothing is left in the queue');
is(value("count(*) FROM agno.run_signals"),
	0,
	'no letter is left');

$node->stop;
done_testing();
