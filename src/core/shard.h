/*-------------------------------------------------------------------------
 *
 * shard.h
 *	  Which runner a session belongs to.
 *
 * A session has a shard, the hash of its id, which is kept in tables. Its runs
 * are executed by the runner with the number shard modulo agno_bg.runners, and by
 * no other: so each row of the queue has one writer, and runs of a session are
 * never side by side. agno.run_queue.runner and agno.run_signals.runner hold that
 * number. When agno_bg.runners changes, with a restart, the runners bring the
 * column of the queue up to date.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SHARD_H
#define AGNO_SHARD_H

/* For wake_at_commit() and the like: those of every runner of the database. */
#define ALL_SHARDS (-1)

extern int	shard_of_session(const char *session_id);
extern int	shard_runner(int shard, int runners);

#endif							/* AGNO_SHARD_H */
