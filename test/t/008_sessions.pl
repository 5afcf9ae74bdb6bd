# Runs of one session execute one at a time, in the order in which they were
# accepted, whatever their priority; sessions side by side. A run whose
# predecessor is scheduled for later, cancelled or failing is not forgotten.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));

# Ten sessions of twenty runs, mixed.
$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(0, 199) i, "
	  . "agno_arun(lpad(i::text, 3, '0'), model => 'mock:slow-' || 1 + i % 7, "
	  . "session_id => 's' || i % 10, priority => i % 3)");
ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 200 FROM agno.runs WHERE status = 'COMPLETED'"),
	'all runs of ten sessions complete');

my (%last, %busy, %number);
my ($order, $alone) = (1, 1);
foreach my $entry (mock_log('mock'))
{
	if ($entry->{event} eq 'request')
	{
		my $input = $entry->{body}{input}[-1]{content};
		my $session = $input % 10;
		$number{ $entry->{number} } = $session;
		$alone = 0 if $busy{$session}++;
		$order = 0 if defined $last{$session} && $input le $last{$session};
		$last{$session} = $input;
	}
	else
	{
		$busy{ $number{ $entry->{number} } }--;
	}
}
ok($order, 'each session executes its runs in the order of acceptance');
ok($alone, 'each session executes one run at a time');

# The first run of the session is scheduled: the second waits for it.
$node->safe_psql('postgres', qq(
	SELECT agno_arun('first', model => 'mock:echo', session_id => 'line',
		run_id => 'first', run_at => now() + interval '1.5 s');
	SELECT agno_arun('second', model => 'mock:status-400',
		session_id => 'line', run_id => 'second');
	SELECT agno_arun('third', model => 'mock:echo', session_id => 'line',
		run_id => 'third');
	SELECT agno_arun('fourth', model => 'mock:echo', session_id => 'line',
		run_id => 'fourth');
	SELECT agno_arun('apart', model => 'mock:echo', run_id => 'apart')));
is(wait_run('apart'), 'COMPLETED', 'a run of another session goes ahead');
is(run_status('second'), 'PENDING',
	'a run waits for the earlier one of its session');
$node->safe_psql('postgres', "SELECT agno_cancel_run('third')");
is(wait_run('fourth'), 'COMPLETED', 'the last run of a line completes');
is(value("string_agg(run_id || ' ' || status, ', '
		ORDER BY created_at) FROM agno.runs WHERE session_id = 'line'"),
	'first COMPLETED, second ERROR, third CANCELLED, fourth COMPLETED',
	'each run before the last one of the line has ended');
is(value("bool_and(r.started_at > l.finished_at)
		FROM agno.runs r, agno.runs l
		WHERE (l.run_id, r.run_id) IN (('first', 'second'),
			('second', 'fourth'))"),
	't',
	'the runs of a line are executed one after the other');

# The whole line is cancelled at once.
$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 50) i, agno_arun('c', "
	  . "model => 'mock:hang', session_id => 'gone', run_id => 'gone' || i)");
$node->safe_psql('postgres',
	"SELECT count(agno_cancel_run('gone' || i)) FROM generate_series(1, 50) i"
);
$node->safe_psql('postgres',
	"SELECT agno_arun('after', model => 'mock:echo', session_id => 'gone', run_id => 'after')"
);
is(wait_run('after'), 'COMPLETED',
	'a run completes behind a line that was cancelled');
is(value('count(*) FROM agno.run_queue'),
	0, 'nothing is left in the queue');

# Priority decides between sessions.
$node->safe_psql('postgres',
	"ALTER SYSTEM SET agno_bg.paused = on; "
	  . "ALTER SYSTEM SET agno_bg.max_concurrent_runs = 1; "
	  . "SELECT pg_reload_conf()");
$node->safe_psql('postgres',
	"SELECT count(*) FROM generate_series(1, 9) i, agno_arun('p', "
	  . "model => 'mock:echo', run_id => 'p' || i, priority => i % 3)");
configure(paused => 'off');
wait_run('p9');
is(value("string_agg(run_id, ' ' ORDER BY started_at)
		FROM agno.runs WHERE input = 'p'"),
	'p2 p5 p8 p1 p4 p7 p3 p6 p9',
	'runs of higher priority go first, then in order');

$node->stop;
done_testing();
