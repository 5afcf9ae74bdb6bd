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

/* By places. Lives as long as the process. */
typedef struct Crowds
{
	Crowd		places[OPEN_ROWS];
} Crowds;

extern void crowds_begin_look(Crowds *crowds, OpenRows place);
extern void crowds_end_look(Crowds *crowds, OpenRows place);
extern Oid *crowds_add(Crowds *crowds, OpenRows place, Oid *owners, int *count);
extern const List *crowds_hidden(const Crowds *crowds, OpenRows place);
extern Oid *crowds_hidden_but(const Crowds *crowds, OpenRows place,
							  const Oid *but, int but_count, int *count);
extern Oid *crowds_add_hidden(const Crowds *crowds, OpenRows place,
							  Oid *owners, int *count);
extern bool crowds_look_failed(const Crowds *crowds);
extern void crowds_end_turn(Crowds *crowds);
extern int64 crowds_next_check(const Crowds *crowds);

#endif							/* AGNO_CROWDS_H */
