/*-------------------------------------------------------------------------
 *
 * crowds.h
 *	  Owners whose rows are in the way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CROWDS_H
#define AGNO_CROWDS_H

#include "store/store.h"

/* What is known of one place. */
typedef struct Crowd
{
	OpenRows	place;
	const char *key;			/* what it is for: of parked runs; or NULL.
								 * The owner's of the crowd */
	int64		began;			/* a look into it that has not come to its
								 * end, or 0; as of clock_now(), as the rest */
	int64		watched_until;	/* a look has taken long just now */
	int64		checked_until;	/* the owners are those until then */
	int64		passed_until;	/* they are passed by until then */
	List	   *owners;			/* OIDs of those who crowd it, */
	List	   *hidden;			/* and of those who have too many rows to see
								 * whether they do; in TopMemoryContext */
	Oid			next;			/* the check goes on with this one, or with
								 * the first */
} Crowd;

/*
 * By places, but for OPEN_PARKED, of which each key has one of its own. Lives as long as
 * the process.
 */
typedef struct Crowds
{
	Crowd		places[OPEN_PARKED];
} Crowds;

extern void crowd_init(Crowd *crowd, OpenRows place, const char *key);
extern void crowd_forget(Crowd *crowd);
extern void crowd_begin_look(Crowd *crowd);
extern void crowd_end_look(Crowd *crowd);
extern Oid *crowd_add(Crowd *crowd, Oid *owners, int *count);
extern Oid *crowd_hidden_but(const Crowd *crowd, const Oid *but,
							 int but_count, int *count);
extern Oid *crowd_add_hidden(const Crowd *crowd, Oid *owners, int *count);

extern void crowds_init(Crowds *crowds);
extern bool crowds_look_failed(const Crowds *crowds);
extern void crowds_end_turn(Crowds *crowds);
extern int64 crowds_next_check(const Crowds *crowds);

#endif							/* AGNO_CROWDS_H */
