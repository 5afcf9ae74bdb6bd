/*-------------------------------------------------------------------------
 *
 * fleet.c
 *	  The runs that a runner has in flight.
 *
 * Finds flights by run and by session, and keeps each in the list or heap of
 * its step. Does nothing to them otherwise. The fleet lives as long as the
 * process, in TopMemoryContext; owned by runner.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "core/clock.h"
#include "runner/fleet.h"
#include "utils/memutils.h"

/* How long a run has to be in flight for its row in the queue to say so. */
#define SETTLE_AFTER (300 * US_PER_MS)

typedef struct FlightEntry
{
	const char *key;			/* in the flight's memory */
	Flight	   *flight;
	uint32		hash;
	char		status;			/* for simplehash.h */
} FlightEntry;

static inline uint32
hash_key(const char *key)
{
	return hash_bytes((const unsigned char *) key, (int) strlen(key));
}

#define SH_PREFIX flights_by_run
#define SH_ELEMENT_TYPE FlightEntry
#define SH_KEY_TYPE const char *
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_key(key)
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

#define SH_PREFIX flights_by_session
#define SH_ELEMENT_TYPE FlightEntry
#define SH_KEY_TYPE const char *
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_key(key)
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* The heap's top is the largest, so the first to wake is the larger. */
static int
compare_wake_at(const pairingheap_node *a, const pairingheap_node *b,
				void *arg)
{
	const Flight *left = pairingheap_const_container(Flight, timer, a);
	const Flight *right = pairingheap_const_container(Flight, timer, b);

	if (left->run.wake_at == right->run.wake_at)
		return 0;
	return left->run.wake_at < right->run.wake_at ? 1 : -1;
}

/*
 * A fleet whose requests are this client's.
 */
Fleet *
fleet_create(HttpClient *http)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Fleet	   *fleet = palloc0(sizeof(Fleet));

	fleet->by_run = flights_by_run_create(TopMemoryContext, 64, NULL);
	fleet->by_session = flights_by_session_create(TopMemoryContext, 64, NULL);
	fleet->http = http;
	fleet->shares = shares_create();
	dlist_init(&fleet->to_send);
	dlist_init(&fleet->held);
	dlist_init(&fleet->unread);
	dlist_init(&fleet->ended);
	dlist_init(&fleet->with_news);
	dlist_init(&fleet->unsettled);
	fleet->backing_off = pairingheap_allocate(compare_wake_at, NULL);
	MemoryContextSwitchTo(old);
	return fleet;
}

/*
 * The flight has events to store.
 */
void
fleet_has_news(Fleet *fleet, Flight *flight)
{
	if (!flight->news.listed)
		dlist_push_tail(&fleet->with_news, &flight->news.node);
	flight->news.listed = true;
}

void
fleet_told_news(Flight *flight)
{
	if (flight->news.listed)
		dlist_delete(&flight->news.node);
	flight->news.listed = false;
}

/*
 * Somebody has locked the row of this flight, which has events to store: they are not
 * to be stored before the pause is over, nor to be in the way of others'.
 */
void
fleet_put_off_news(Fleet *fleet, Flight *flight, int64 pause)
{
	fleet_told_news(flight);
	fleet_has_news(fleet, flight);
	flight->news.locked_pause = pause;
	flight->news.due_at = clock_now() + pause;
}

/*
 * The flights, at most limit, whose rows in the queue are to say now that they are
 * executing: they may be so for long.
 */
List *
fleet_to_settle(Fleet *fleet, int limit)
{
	int64		until = clock_now() - SETTLE_AFTER;
	List	   *flights = NIL;
	dlist_iter	iter;

	dlist_foreach(iter, &fleet->unsettled)
	{
		Flight	   *flight = dlist_container(Flight, unsettled, iter.cur);

		if (flight->claimed_at > until || list_length(flights) == limit)
			break;
		flights = lappend(flights, flight);
	}
	return flights;
}

/*
 * The row of the flight in the queue says so.
 */
void
fleet_settled(Flight *flight)
{
	if (!flight->settled)
		dlist_delete(&flight->unsettled);
	flight->settled = true;
}

/*
 * Take in a flight, whose run and session have no other.
 */
void
fleet_add(Fleet *fleet, Flight *flight)
{
	bool		found;

	flights_by_run_insert(fleet->by_run, flight->run_id,
						  &found)->flight = flight;
	Assert(!found);
	flights_by_session_insert(fleet->by_session, flight->session_id,
							  &found)->flight = flight;
	Assert(!found);
	fleet->count++;
	flight->claimed_at = clock_now();
	dlist_push_tail(&fleet->unsettled, &flight->unsettled);
	shares_add(fleet->shares, flight->owner, flight->bytes);
	fleet_place(fleet, flight);
}

static void
displace(Fleet *fleet, Flight *flight)
{
	if (flight->place == IN_LIST)
		dlist_delete(&flight->node);
	else if (flight->place == IN_HEAP)
		pairingheap_remove(fleet->backing_off, &flight->timer);
	flight->place = NOWHERE;
	if (flight->ended_size > 0)
		http_keep(fleet->http, flight->owner, -flight->ended_size);
	flight->ended_size = 0;
}

/*
 * Let go of a flight. Its memory is the caller's to free.
 */
void
fleet_remove(Fleet *fleet, Flight *flight)
{
	displace(fleet, flight);
	fleet_put_on(fleet, flight);
	fleet_told_news(flight);
	fleet_settled(flight);
	shares_remove(fleet->shares, flight->owner, flight->bytes);
	flights_by_run_delete(fleet->by_run, flight->run_id);
	flights_by_session_delete(fleet->by_session, flight->session_id);
	fleet->count--;
}

/*
 * Somebody has locked the row of this flight, which has ended: it is not to be
 * stored before the pause is over.
 */
void
fleet_put_off(Fleet *fleet, Flight *flight, int64 pause)
{
	if (!flight->put_off)
		fleet->put_off++;
	flight->put_off = true;
	flight->locked_pause = pause;
	flight->store_after = clock_now() + pause;
}

/*
 * There may be no lock to wait for any more. One that has failed to be stored has a
 * pause of its own, which nothing ends: else it would be tried, and fail, for ever.
 */
void
fleet_put_on(Fleet *fleet, Flight *flight)
{
	if (!flight->put_off)
		return;
	fleet->put_off--;
	flight->put_off = false;
	flight->store_after = 0;
}

/*
 * Put the flight where its step belongs. Call this after every step.
 */
void
fleet_place(Fleet *fleet, Flight *flight)
{
	displace(fleet, flight);
	switch (flight->run.step)
	{
		case STEP_SEND:
			dlist_push_tail(&fleet->to_send, &flight->node);
			flight->place = IN_LIST;
			break;
		case STEP_AWAIT:
			break;
		case STEP_BACK_OFF:
			pairingheap_add(fleet->backing_off, &flight->timer);
			flight->place = IN_HEAP;
			break;
		case STEP_STORE:
			dlist_push_tail(&fleet->ended, &flight->node);
			flight->place = IN_LIST;
			flight->ended_size = flight_size(flight);
			http_keep(fleet->http, flight->owner, flight->ended_size);
			break;
	}
}

/*
 * The answer of the flight has come, and is to be read later: fleet_place() ends that.
 */
void
fleet_leave_unread(Fleet *fleet, Flight *flight)
{
	displace(fleet, flight);
	dlist_push_tail(&fleet->unread, &flight->node);
	flight->place = IN_LIST;
}

/*
 * The flight of this run, or NULL.
 */
Flight *
fleet_find(Fleet *fleet, const char *run_id)
{
	FlightEntry *entry = flights_by_run_lookup(fleet->by_run, run_id);

	return entry != NULL ? entry->flight : NULL;
}

/*
 * The flight of this session, or NULL.
 */
Flight *
fleet_find_session(Fleet *fleet, const char *session_id)
{
	FlightEntry *entry = flights_by_session_lookup(fleet->by_session,
												   session_id);

	return entry != NULL ? entry->flight : NULL;
}

/*
 * The flight whose pause ends first, or NULL.
 */
Flight *
fleet_first_to_wake(Fleet *fleet)
{
	if (pairingheap_is_empty(fleet->backing_off))
		return NULL;
	return pairingheap_container(Flight, timer,
								 pairingheap_first(fleet->backing_off));
}

/*
 * The flight that has ended and takes most memory, or NULL.
 */
Flight *
fleet_largest_ended(Fleet *fleet)
{
	Flight	   *largest = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &fleet->ended)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (largest == NULL || flight->ended_size > largest->ended_size)
			largest = flight;
	}
	return largest;
}

/*
 * All flights, fleet->count of them, in a palloc'd array.
 */
Flight	  **
fleet_all(Fleet *fleet)
{
	Flight	  **all = palloc(sizeof(Flight *) * Max(fleet->count, 1));
	flights_by_run_iterator iterator;
	FlightEntry *entry;
	int			count = 0;

	flights_by_run_start_iterate(fleet->by_run, &iterator);
	while ((entry = flights_by_run_iterate(fleet->by_run, &iterator)) != NULL)
		all[count++] = entry->flight;
	return all;
}
