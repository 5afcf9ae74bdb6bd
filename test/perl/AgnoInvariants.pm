# What is true of the queue at any moment, in one snapshot: each run that has not
# ended is ready, due at a known time, in flight, parked for a model server, or
# behind a run of its session that is one of these. So nothing can be stuck.

package AgnoInvariants;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(queue_violations);

my %RULES = (
	'the state is unknown' => q(
		SELECT run_id FROM agno.run_queue WHERE state NOT IN ('r', 's', 'w', 'k', 'p', 'x', 't', 'd', 'b')),
	'its tools may be called for ever' => q(
		SELECT run_id FROM agno.run_queue WHERE state = 't' AND run_at IS NULL),
	'nobody is to call its tools' => q(
		SELECT run_id FROM agno.run_queue q WHERE state = 't' AND run_at > clock_timestamp()
			AND NOT EXISTS (SELECT FROM agno.tool_queue t WHERE t.run_id = q.run_id)
			AND NOT EXISTS (SELECT FROM agno.run_signals s WHERE s.run_id = q.run_id)
			AND NOT EXISTS (SELECT FROM agno.tool_calls c JOIN agno.runs k ON k.run_id = c.child_run_id
				WHERE c.run_id = q.run_id AND c.status = 'waiting' AND (k.status IN ('PENDING', 'RUNNING')
				OR EXISTS (SELECT FROM agno.run_queue b WHERE b.run_id = k.run_id AND b.state = 'b')))),
	'it has ended, and what it has enqueued goes on' => q(
		SELECT k.run_id FROM agno.runs k JOIN agno.runs p ON p.run_id = k.parent_run_id
			WHERE k.status IN ('PENDING', 'RUNNING', 'PAUSED') AND p.status IN ('COMPLETED', 'CANCELLED', 'ERROR')
			AND NOT EXISTS (SELECT FROM agno.run_signals s WHERE s.run_id IN (k.run_id, p.run_id) AND s.kind = 'c')
			AND NOT EXISTS (SELECT FROM agno.run_queue q WHERE q.run_id = k.run_id AND q.cancelled)
			AND NOT EXISTS (SELECT FROM agno.callbacks c WHERE c.run_id = k.run_id)),
	'no call of its parent enqueued it' => q(
		SELECT k.run_id FROM agno.runs k JOIN agno.runs p ON p.run_id = k.parent_run_id
			WHERE NOT EXISTS (SELECT FROM agno.tool_calls c WHERE c.run_id = p.run_id AND c.child_run_id = k.run_id)),
	'it waits for no decision' => q(
		SELECT run_id FROM agno.run_queue q WHERE state = 'd'
			AND NOT EXISTS (SELECT FROM agno.run_signals s WHERE s.run_id = q.run_id)
			AND NOT EXISTS (SELECT FROM agno.runs r JOIN agno.requirements p USING (run_id) JOIN agno.tool_calls c
				USING (run_id, turn, call_no) WHERE r.run_id = q.run_id AND r.status = 'PAUSED'
				AND p.decision IS NULL AND c.status = 'paused')
			AND NOT EXISTS (SELECT FROM agno.tool_calls c JOIN agno.runs k ON k.run_id = c.child_run_id
				WHERE c.run_id = q.run_id AND c.status = 'waiting' AND k.status = 'PAUSED')),
	'it is paused, but not in the queue' => q(
		SELECT run_id FROM agno.runs r WHERE status = 'PAUSED'
			AND NOT EXISTS (SELECT FROM agno.run_queue q WHERE q.run_id = r.run_id AND state IN ('d', 'b', 'k'))),
	'its decision will never expire' => q(
		SELECT run_id FROM agno.run_queue q JOIN agno.requirements p USING (run_id)
			WHERE state = 'd' AND decision IS NULL AND expires_at IS NOT NULL AND (run_at IS NULL
			OR run_at > greatest(expires_at, clock_timestamp()) + interval '5 s')),
	'it is scheduled for no time' => q(
		SELECT run_id FROM agno.run_queue WHERE state = 's' AND run_at IS NULL),
	'it is to be looked at at no time' => q(
		SELECT run_id FROM agno.run_queue WHERE state = 'k' AND run_at IS NULL),
	'it is parked for nothing' => q(
		SELECT run_id FROM agno.run_queue WHERE state = 'p' AND parked_for IS NULL),
	'it waits for nobody' => q(
		SELECT run_id FROM agno.run_queue w WHERE state = 'w'
			AND NOT EXISTS (SELECT FROM agno.run_queue e
				WHERE e.session_id = w.session_id AND e.run_id <> w.run_id
				AND (e.state IN ('x', 't') OR (e.state = 'r' AND e.claimed) OR (e.accepted_at < w.accepted_at AND e.state <> 'w')))),
	'it is claimed, but not in flight' => q(
		SELECT run_id FROM agno.run_queue q JOIN agno.runs r USING (run_id)
			WHERE q.state = 'r' AND q.claimed AND r.status = 'PENDING'),
	'two of its session are in flight' => q(
		SELECT min(run_id) FROM agno.run_queue WHERE state = 'x' OR (state = 'r' AND claimed)
			GROUP BY session_id HAVING count(*) > 1),
	'it is in flight before one of its session at its tools' => q(
		SELECT q.run_id FROM agno.run_queue q JOIN agno.run_queue e ON e.session_id = q.session_id AND e.accepted_at < q.accepted_at
			WHERE (q.state = 'x' OR (q.state = 'r' AND q.claimed)) AND e.state = 't'),
	'it is not in the queue' => q(
		SELECT run_id FROM agno.runs r WHERE status IN ('PENDING', 'RUNNING')
			AND NOT EXISTS (SELECT FROM agno.run_queue q WHERE q.run_id = r.run_id)),
	'it is in the queue, but ended' => q(
		SELECT run_id FROM agno.run_queue q JOIN agno.runs r USING (run_id)
			WHERE r.status IN ('COMPLETED', 'ERROR') AND NOT (q.state = 'b'
			AND (EXISTS (SELECT FROM agno.run_signals s WHERE s.run_id = q.run_id AND s.kind = 'e')
			OR EXISTS (SELECT FROM agno.callbacks c WHERE c.run_id = q.run_id)))),
	'nobody is to call it back' => q(
		SELECT run_id FROM agno.run_queue q WHERE state = 'b'
			AND NOT EXISTS (SELECT FROM agno.callbacks c WHERE c.run_id = q.run_id)
			AND NOT EXISTS (SELECT FROM agno.run_signals s WHERE s.run_id = q.run_id AND s.kind = 'e')),
	'it is in the queue, but not there' => q(
		SELECT run_id FROM agno.run_queue q WHERE (state NOT IN ('k', 'r') OR (state = 'r' AND claimed))
			AND NOT EXISTS (SELECT FROM agno.runs r WHERE r.run_id = q.run_id)),
	'the queue has another owner' => q(
		SELECT run_id FROM agno.run_queue q JOIN agno.runs r USING (run_id)
			WHERE q.owner <> r.owner AND q.owner::oid <> 0),
	'it is for another runner' => q(
		SELECT run_id FROM agno.run_queue
			WHERE runner <> shard % current_setting('agno_bg.runners')::int));

# One query for all rules, whose rows are violations: the rule, and the run.
sub queue_violations
{
	return join ' UNION ALL ', map {
		"SELECT '$_: ' || run_id FROM ($RULES{$_}) AS v (run_id)"
	} sort keys %RULES;
}

1;
