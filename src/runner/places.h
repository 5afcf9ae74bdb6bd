/*-------------------------------------------------------------------------
 *
 * places.h
 *	  The places at a model server, and whose turn it is to have one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PLACES_H
#define AGNO_PLACES_H

#include "nodes/pg_list.h"
#include "runner/load_table.h"
#include "runner/shares.h"

/* What a runner knows of the places at one server. Its own memory. */
typedef struct Places
{
	int			max_concurrency;	/* how many there are; 0: any number */
	int			fetched;		/* parked runs, by the turn that is under way */
	List	   *started;		/* owners in the order in which runs of theirs
								 * have been started last, with any key; in
								 * TopMemoryContext */
	Shares	   *shares;			/* whose runs are in flight there, or pause */
	Load	   *load;			/* in_flight and waiting */
	bool		own_load;		/* it is our own */
	int64		yield_until;	/* what is free is for other runners */
} Places;

extern void places_init(Places *places, Load *load, bool own_load);
extern void places_forget(Places *places);
extern int	places_left(const Places *places);
extern int	places_room(const Places *places, int64 now);
extern bool places_owner_may(const Places *places, Oid owner);
extern void places_take(Places *places, int runner, Oid owner);
extern void places_free(Places *places, int runner, Oid owner);
extern void places_lend(Places *places, int runner);
extern void places_take_back(Places *places, int runner);
extern void places_give_up(Places *places, Oid owner);
extern uint32 places_others(const Places *places, int runner);
extern void places_yield(Places *places, int64 now);
extern void places_wait(Places *places, int runner, bool waits);
extern void places_note_fetched(Places *places, int count);
extern void places_note_start(Places *places, Oid owner);
extern int	places_started_at(const Places *places, Oid owner);

#endif							/* AGNO_PLACES_H */
