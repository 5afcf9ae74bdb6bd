/*-------------------------------------------------------------------------
 *
 * doubts.c
 *	  Owners whom a server has told not to ask it now.
 *
 * Who has been told so asks nothing for a while. When that is over some of his runs ask,
 * some more for each answer, and twice as many after each moment in which he is not told
 * again: else all that wait would be told so, and most would use up their retries.
 *
 * The others with that key have not been told, and may not be meant: they ask for another
 * model, or have not used up what that one allows. What a server says for all of a key is
 * the business of pacing.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "runner/doubts.h"
#include "utils/memutils.h"

/*
 * How long somebody asks nothing whom a server does not tell for how long, in microseconds,
 * and how often that doubles while it does not answer. It is short, as another model may
 * answer him: for the pauses of a run, there are its own.
 */
#define UNSAID_PAUSE (200 * US_PER_MS)
#define UNSAID_DOUBLINGS 2

/*
 * How many may ask after that; after how long twice as many may, in microseconds, and how
 * often that doubles before any number may; and how many more may for each answer.
 */
#define FIRST_ASKS 4
#define DOUBT_STEP (100 * US_PER_MS)
#define DOUBT_STEPS 10
#define ASKS_PER_ANSWER 4

typedef struct Doubt
{
	Oid			owner;			/* the key */
	int64		until;			/* he asks nothing until then, */
	int64		opened_at;		/* after he had asked since then, */
	int			pauses;			/* so many times without an answer */
	int			asked;			/* how often he has asked since he was told,
								 * less what the answers make up for */
	char		status;			/* for simplehash.h */
} Doubt;

#define SH_PREFIX doubt_table
#define SH_ELEMENT_TYPE Doubt
#define SH_KEY_TYPE Oid
#define SH_KEY owner
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static Doubt *
find(const Doubts *doubts, Oid owner)
{
	return doubts->by_owner != NULL ?
		doubt_table_lookup(doubts->by_owner, owner) : NULL;
}

/*
 * How often twice as many may ask now as when the pause was over.
 */
static int
steps(const Doubt *doubt, int64 now)
{
	return (int) Max(Min((now - doubt->until) / DOUBT_STEP, DOUBT_STEPS), 0);
}

/*
 * Whether any number may ask again.
 */
static bool
is_over(const Doubt *doubt, int64 now)
{
	return steps(doubt, now) == DOUBT_STEPS;
}

/*
 * How many runs of somebody who has been told so may ask now.
 */
static int
asks_left(const Doubt *doubt, int64 now)
{
	if (is_over(doubt, now))
		return PG_INT32_MAX;
	return doubt->until > now ? 0 :
		Max((FIRST_ASKS << steps(doubt, now)) - doubt->asked, 0);
}

/*
 * Forget those who may ask as if they had never been told.
 */
static void
forget_over(Doubts *doubts, int64 now)
{
	doubt_table_iterator iterator;
	Doubt	   *doubt;

	doubt_table_start_iterate(doubts->by_owner, &iterator);
	while ((doubt = doubt_table_iterate(doubts->by_owner, &iterator)) != NULL)
	{
		if (is_over(doubt, now))
			doubt_table_delete_item(doubts->by_owner, doubt);
	}
}

/*
 * This owner has been told to ask nothing until then; 0: he has not been told until when.
 */
void
doubts_tell(Doubts *doubts, Oid owner, int64 until, int64 now)
{
	Doubt	   *doubt;
	bool		found;

	if (doubts->by_owner == NULL)
		doubts->by_owner = doubt_table_create(TopMemoryContext, 16, NULL);
	forget_over(doubts, now);
	doubt = doubt_table_insert(doubts->by_owner, owner, &found);
	if (!found)
	{
		doubt->until = 0;
		doubt->pauses = 0;
	}
	/* Those who have asked together are told so together. */
	if (doubt->until <= now)
	{
		doubt->opened_at = doubt->until;
		doubt->pauses++;
		doubt->asked = 0;
	}
	if (until == 0)
		until = now + (UNSAID_PAUSE << Min(doubt->pauses - 1, UNSAID_DOUBLINGS));
	doubt->until = Max(doubt->until, until);
}

/*
 * A request of this owner that was sent then has been answered: others may ask after all,
 * even if some have been told that they may not. What was sent before he was told last
 * says nothing. Returns whether more may ask now.
 */
bool
doubts_answer(Doubts *doubts, Oid owner, int64 sent_at, int64 now)
{
	Doubt	   *doubt = find(doubts, owner);

	if (doubt == NULL || sent_at < doubt->opened_at)
		return false;
	doubt->pauses = 0;
	doubt->asked -= ASKS_PER_ANSWER;
	return doubt->until <= now;
}

/*
 * When this owner may ask again, or might: 0 if he has not been told when.
 */
int64
doubts_pause_end(const Doubts *doubts, Oid owner)
{
	Doubt	   *doubt = find(doubts, owner);

	return doubt != NULL ? doubt->until : 0;
}

/*
 * How many runs of this owner may ask now, as far as that goes.
 */
int
doubts_asks_left(const Doubts *doubts, Oid owner, int64 now)
{
	Doubt	   *doubt = find(doubts, owner);

	return doubt != NULL ? asks_left(doubt, now) : PG_INT32_MAX;
}

/*
 * One of them does.
 */
void
doubts_note_ask(Doubts *doubts, Oid owner, int64 now)
{
	Doubt	   *doubt = find(doubts, owner);

	if (doubt != NULL && !is_over(doubt, now))
		doubt->asked++;
}

/*
 * It does not after all.
 */
void
doubts_take_ask_back(Doubts *doubts, Oid owner)
{
	Doubt	   *doubt = find(doubts, owner);

	if (doubt != NULL)
		doubt->asked--;
}

/*
 * How many owners there are of whom this knows.
 */
int
doubts_count(const Doubts *doubts)
{
	return doubts->by_owner != NULL ? (int) doubts->by_owner->members : 0;
}

/*
 * When somebody may ask again, or more of his runs may, who may not have any ask now: NEVER
 * if there is nobody.
 */
int64
doubts_next_change(const Doubts *doubts, int64 now)
{
	int64		next = NEVER;
	doubt_table_iterator iterator;
	Doubt	   *doubt;

	if (doubts->by_owner == NULL)
		return NEVER;
	doubt_table_start_iterate(doubts->by_owner, &iterator);
	while ((doubt = doubt_table_iterate(doubts->by_owner, &iterator)) != NULL)
	{
		if (asks_left(doubt, now) == 0)
			next = Min(next, doubt->until > now ? doubt->until :
					   doubt->until + (steps(doubt, now) + 1) * DOUBT_STEP);
	}
	return next;
}

/*
 * Whether anybody may ask as if he had never been told.
 */
bool
doubts_are_over(const Doubts *doubts, int64 now)
{
	doubt_table_iterator iterator;
	Doubt	   *doubt;

	if (doubts->by_owner == NULL)
		return true;
	doubt_table_start_iterate(doubts->by_owner, &iterator);
	while ((doubt = doubt_table_iterate(doubts->by_owner, &iterator)) != NULL)
	{
		if (!is_over(doubt, now))
			return false;
	}
	return true;
}

void
doubts_forget(Doubts *doubts)
{
	if (doubts->by_owner != NULL)
		doubt_table_destroy(doubts->by_owner);
	doubts->by_owner = NULL;
}
