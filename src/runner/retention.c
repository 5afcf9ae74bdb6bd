/*-------------------------------------------------------------------------
 *
 * retention.c
 *	  Deleting runs that have ended long ago.
 *
 * Step by step, between turns: with a pause after each that is as long as it was, and
 * no more runs in one than fit into its time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/apart.h"
#include "runner/deadline.h"
#include "runner/retention.h"
#include "server/settings.h"

/* How many runs a step deletes at most, each with its family. */
#define MOST_DELETED 500

/*
 * How often runs are looked for that are old enough to be deleted, and how long a step
 * of deleting several of them may take. The pause between two steps is as long as the
 * first of them, but no shorter and no longer than that.
 */
#define LOOK_PAUSE (60 * US_PER_S)
#define STEP_MOST (200 * US_PER_MS)
#define STEP_PAUSE (20 * US_PER_MS)
#define STEP_LONGEST_PAUSE (10 * US_PER_S)

/*
 * How long the runs are left alone that could not be deleted, for each of them, and how long
 * at most: each attempt takes a transaction id.
 */
#define KEPT_PAUSE (100 * US_PER_MS)
#define KEPT_LONGEST_PAUSE (60 * US_PER_MINUTE)

void
retention_init(Retention *retention)
{
	retention->next_at = 0;
	retention->after = store_first_place();
	strlcpy(retention->after_run, retention->after.run_id,
			sizeof(retention->after_run));
	retention->after.run_id = retention->after_run;
	retention->stayed = 0;
	retention->kept = 0;
	retention->more = false;
	retention->limit = MOST_DELETED;
	retention->failed = false;
}

/*
 * Delete a part of what is old enough. A single thing takes as long as it does.
 */
static void
delete_old(void *arg)
{
	Retention  *retention = arg;
	RunPlace	after = retention->after;
	int			stayed = retention->stayed;
	int			kept = retention->kept;
	bool		more;

	if (retention->limit > 1)
		deadline_begin(STEP_MOST / US_PER_MS);
	more = store_expire_runs(&after, &stayed, &kept, retention->limit,
							 agno_retention);
	(void) deadline_end();
	retention->after.created_at = after.created_at;
	if (after.run_id != retention->after_run)
		strlcpy(retention->after_run, after.run_id,
				sizeof(retention->after_run));
	retention->stayed = stayed;
	retention->kept = kept;
	retention->more = more;
}

/*
 * How long it takes no look, after one at all that is old enough.
 */
static int64
look_pause(const Retention *retention)
{
	int64		pause = Min(LOOK_PAUSE, agno_retention * US_PER_S);

	return Max(pause, Min(retention->kept * KEPT_PAUSE, KEPT_LONGEST_PAUSE));
}

/*
 * Delete what is old enough, or a part of it. Sets next_at.
 */
void
retention_step(Retention *retention)
{
	int64		began = clock_now();
	int64		took;
	bool		done;

	retention->more = false;
	done = apart_do("agno_bg: deleting old runs", delete_old, retention,
					&retention->failed);
	took = clock_now() - began;
	if (!done && !retention->failed)
	{
		retention->limit /= 2;
		retention->more = true;
	}
	else if (done && took < STEP_MOST / 2)
		retention->limit = Min(2 * retention->limit, MOST_DELETED);
	retention->next_at = began + took +
		(retention->more ? Min(Max(took, STEP_PAUSE), STEP_LONGEST_PAUSE) :
		 look_pause(retention));
	if (!retention->more)
		retention->kept = 0;
}

/*
 * It may be something else by now that is old enough, or can be deleted.
 */
void
retention_look_now(Retention *retention)
{
	retention->next_at = 0;
}
