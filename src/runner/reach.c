/*-------------------------------------------------------------------------
 *
 * reach.c
 *	  Whether a model server can be reached.
 *
 * One that cannot, is lost: it is tried by one run at a time, with pauses that grow. Who
 * waits for it is not known here. Each runner finds out for itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/reach.h"
#include "utils/memutils.h"

/* The pause between two tries to reach a server doubles up to the last. */
#define FIRST_TRY_PAUSE (500 * US_PER_MS)
#define LAST_TRY_PAUSE (10000 * US_PER_MS)

bool
reach_is_lost(const Reach *reach)
{
	return reach->lost_since != 0;
}

/*
 * Whether a run may try a server that is lost.
 */
bool
reach_may_try(const Reach *reach, int64 now)
{
	return !reach->trying && reach->try_at <= now;
}

/*
 * When one may.
 */
int64
reach_next_try(const Reach *reach)
{
	return reach->trying ? NEVER : reach->try_at;
}

/*
 * The turn that is under way starts a run: if the server is lost, that tries it.
 */
void
reach_reserve_try(Reach *reach)
{
	if (reach_is_lost(reach))
		reach->trying = reach->try_reserved = true;
}

/*
 * A run has been started, and its turn is committed. Returns whether it tries the server.
 */
bool
reach_start_try(Reach *reach)
{
	bool		trying = reach->try_reserved;

	reach->try_reserved = false;
	return trying;
}

/*
 * A turn begins: the last one may have failed.
 */
void
reach_begin_turn(Reach *reach)
{
	if (reach->try_reserved)
		reach->trying = false;
	reach->try_reserved = false;
}

/*
 * The run that tried the server is over, and nothing was learnt by it.
 */
void
reach_end_try(Reach *reach)
{
	reach->trying = false;
}

/*
 * The server could not be reached: nothing was sent. trying: by the run that was to find
 * out. What was in flight beside it tells nothing new. Runs wait for it for patience_ms.
 */
void
reach_failed(Reach *reach, bool trying, const char *problem, int patience_ms,
			 int64 now)
{
	int64		pause = FIRST_TRY_PAUSE;

	reach->patience_ms = patience_ms;
	if (reach_is_lost(reach) && !trying)
		return;
	if (!reach_is_lost(reach))
	{
		reach->lost_since = now;
		reach->failures = 0;
	}
	for (int i = 0; i < reach->failures && pause < LAST_TRY_PAUSE; i++)
		pause *= 2;
	reach->failures++;
	reach->try_at = now + Min(pause, LAST_TRY_PAUSE);
	reach->trying = false;
	if (reach->problem != NULL)
		pfree(reach->problem);
	reach->problem = MemoryContextStrdup(TopMemoryContext, problem);
}

/*
 * The server has been reached.
 */
void
reach_succeeded(Reach *reach)
{
	reach->lost_since = 0;
	reach->trying = false;
}

/*
 * Why it is lost, in UTF-8; NULL: it is not.
 */
const char *
reach_problem(const Reach *reach)
{
	return reach_is_lost(reach) ? reach->problem : NULL;
}

/*
 * Nobody asks any more.
 */
void
reach_forget(Reach *reach)
{
	if (reach->problem != NULL)
		pfree(reach->problem);
	memset(reach, 0, sizeof(Reach));
}
