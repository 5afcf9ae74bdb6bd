/*-------------------------------------------------------------------------
 *
 * fleet.h
 *	  The runs that a runner has in flight.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_FLEET_H
#define AGNO_FLEET_H

#include "runner/flight.h"

struct flights_by_run_hash;
struct flights_by_session_hash;

typedef struct Fleet
{
	struct flights_by_run_hash *by_run;
	struct flights_by_session_hash *by_session;
	int			count;			/* of all flights */
	int			put_off;		/* of those that wait for somebody's lock:
								 * they need no slot any more */
	Shares	   *shares;			/* whose they are */
	HttpClient *http;			/* is told what those keep that have ended */
	dlist_head	to_send;		/* flights at STEP_SEND */
	dlist_head	held;			/* likewise, whose owners leave others the
								 * time */
	dlist_head	unread;			/* flights at STEP_AWAIT whose answers have
								 * come, and are not to be read yet */
	dlist_head	ended;			/* flights at STEP_STORE */
	dlist_head	with_news;		/* flights with events to store */
	dlist_head	unsettled;		/* flights whose rows in the queue are only
								 * claimed, in the order of their starts */
	pairingheap *backing_off;	/* flights at STEP_BACK_OFF, the first to wake
								 * on top */
} Fleet;

extern Fleet *fleet_create(HttpClient *http);
extern void fleet_add(Fleet *fleet, Flight *flight);
extern void fleet_remove(Fleet *fleet, Flight *flight);
extern void fleet_place(Fleet *fleet, Flight *flight);
extern void fleet_leave_unread(Fleet *fleet, Flight *flight);
extern void fleet_has_news(Fleet *fleet, Flight *flight);
extern void fleet_told_news(Flight *flight);
extern void fleet_put_off_news(Fleet *fleet, Flight *flight, int64 pause);
extern List *fleet_to_settle(Fleet *fleet, int limit);
extern void fleet_settled(Flight *flight);
extern Flight *fleet_find(Fleet *fleet, const char *run_id);
extern Flight *fleet_find_session(Fleet *fleet, const char *session_id);
extern Flight *fleet_first_to_wake(Fleet *fleet);
extern Flight *fleet_largest_ended(Fleet *fleet);
extern void fleet_put_off(Fleet *fleet, Flight *flight, int64 pause);
extern void fleet_put_on(Fleet *fleet, Flight *flight);
extern Flight **fleet_all(Fleet *fleet);

#endif							/* AGNO_FLEET_H */
