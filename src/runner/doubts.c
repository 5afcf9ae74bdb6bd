/*-------------------------------------------------------------------------
 *
 * doubts.c
 *	  Whom a server has told not to ask it now.
 *
 * Who has been told so asks nothing for a while. When that is over some runs ask, another one
 * for each answer, and twice as many after each moment in which nobody is told again: else
 * all that wait would be told so, and most would use up their retries.
 *
 * What one owner has been told holds for the others with that key as well, as it may be meant
 * for all of them; but not for those who are answered, and are not told so: they may ask for
 * another model, or have not used up what that one allows. Who is both may ask once for each
 * answer, whatever the others are told; and has else to wait for what those are told who are
 * both, not for who is told nothing else.
 *
 * What a server says for a time, to all of a key, is the business of pacing.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "runner/doubts.h"
#include "utils/memutils.h"

/*
 * How long nothing is asked where a server does not say for how long, in microseconds, and
 * how often that doubles while it does not answer. It is short, as others have to wait who
 * may not be meant: for the pauses of a run, there are its own.
 */
#define UNSAID_PAUSE (200 * US_PER_MS)
#define UNSAID_DOUBLINGS 2

/*
 * How many may ask after that; and after how long twice as many may, in microseconds, and how
 * often that doubles before any number may.
 */
#define FIRST_ASKS 4
#define DOUBT_STEP (100 * US_PER_MS)
#define DOUBT_STEPS 10

/*
 * For how long an answer shows that its owner is not meant, or what he is told that he is, in
 * microseconds.
 */
#define PROOF_LASTS US_PER_MINUTE

/*
 * How much an answer counts, where being told to wait counts one, for whether an owner is
 * answered; and how much can count for it, and against it.
 */
#define ANSWER_PROVES 2
#define MOST_PROOF 16
#define MOST_DISPROOF 4

/* How many owners there may be before any are forgotten. */
#define LEAST_MANY 16

typedef struct OwnerDoubt
{
	Oid			owner;			/* the key */
	Doubt		doubt;			/* what he has been told, */
	int64		told_at;		/* then, for the last time; 0: never */
	int64		answered_at;	/* when he has been answered last; 0: never */
	int			proof;			/* how much he is: the answers, less what he
								 * has been told */
	int			earned;			/* how often he may ask for his answers */
	char		status;			/* for simplehash.h */
} OwnerDoubt;

#define SH_PREFIX owner_table
#define SH_ELEMENT_TYPE OwnerDoubt
#define SH_KEY_TYPE Oid
#define SH_KEY owner
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*-------------------------------------------------------------------------
 * One doubt
 *-------------------------------------------------------------------------
 */

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
 * How many may ask now.
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
 * When some may ask again where none may now; else NEVER.
 */
static int64
next_change(const Doubt *doubt, int64 now)
{
	if (asks_left(doubt, now) > 0)
		return NEVER;
	return doubt->until > now ? doubt->until :
		doubt->until + (steps(doubt, now) + 1) * DOUBT_STEP;
}

/*
 * Nothing is to be asked until then; 0: it has not been said until when.
 */
static void
tell(Doubt *doubt, int64 until, int64 now)
{
	if (is_over(doubt, now))
	{
		doubt->begun_at = now;
		doubt->pauses = 0;
	}
	/* Those who have asked together are told so together. */
	if (doubt->until <= now)
	{
		doubt->pauses++;
		doubt->asked = 0;
	}
	if (until == 0)
		until = now + (UNSAID_PAUSE <<
					   Max(Min(doubt->pauses - 1, UNSAID_DOUBLINGS), 0));
	doubt->until = Max(doubt->until, until);
}

/*
 * What was sent then has been answered. Returns whether that says something: what was sent
 * before that was first said does not.
 */
static bool
answer(Doubt *doubt, int64 sent_at)
{
	if (sent_at < doubt->begun_at)
		return false;
	doubt->pauses = 0;
	return true;
}

/*
 * It is asked once more.
 */
static void
add_ask(Doubt *doubt, int64 now)
{
	if (!is_over(doubt, now))
		doubt->asked++;
}

/*
 * It is not asked after all: that may have been before all was forgotten that was asked.
 */
static void
take_ask_back(Doubt *doubt)
{
	doubt->asked = Max(doubt->asked - 1, Min(doubt->asked, 0));
}

/*-------------------------------------------------------------------------
 * Owners
 *-------------------------------------------------------------------------
 */

/*
 * Nobody with this key has been told anything by this runner.
 */
void
doubts_init(Doubts *doubts, KeyDoubt *key)
{
	doubts->key = key;
	doubts->owners = NULL;
	doubts->many = LEAST_MANY;
}

static OwnerDoubt *
find(const Doubts *doubts, Oid owner)
{
	return doubts->owners != NULL ?
		owner_table_lookup(doubts->owners, owner) : NULL;
}

/*
 * Whether that was lately: 0 is never.
 */
static bool
is_recent(int64 at, int64 now)
{
	return at > 0 && now - at < PROOF_LASTS;
}

/*
 * Whether he has been answered lately, and not been told that he is not.
 */
static bool
is_exempt(const OwnerDoubt *its, int64 now)
{
	return its != NULL && is_recent(its->answered_at, now) &&
		!is_recent(its->told_at, now);
}

/*
 * Whether he is answered, though he may have been told to wait, too.
 */
static bool
is_proven(const OwnerDoubt *its, int64 now)
{
	return its != NULL && its->proof > 0 && is_recent(its->answered_at, now);
}

/*
 * Forget owners of whom nothing needs to be known, if there are many.
 */
static void
forget_some(Doubts *doubts, int64 now)
{
	owner_table_iterator iterator;
	OwnerDoubt *its;

	if (doubts->owners->members < doubts->many)
		return;
	owner_table_start_iterate(doubts->owners, &iterator);
	while ((its = owner_table_iterate(doubts->owners, &iterator)) != NULL)
	{
		if (is_over(&its->doubt, now) && !is_recent(its->told_at, now) &&
			!is_recent(its->answered_at, now))
			owner_table_delete_item(doubts->owners, its);
	}
	doubts->many = Max(2 * doubts->owners->members, LEAST_MANY);
}

static OwnerDoubt *
find_or_add(Doubts *doubts, Oid owner, int64 now)
{
	OwnerDoubt *its = find(doubts, owner);
	bool		found;

	if (its != NULL)
		return its;
	if (doubts->owners == NULL)
		doubts->owners = owner_table_create(TopMemoryContext, LEAST_MANY, NULL);
	forget_some(doubts, now);
	its = owner_table_insert(doubts->owners, owner, &found);
	memset(&its->doubt, 0, sizeof(its->doubt));
	its->told_at = 0;
	its->answered_at = 0;
	its->proof = 0;
	its->earned = 0;
	return its;
}

/*
 * This owner has been told to ask nothing until then; 0: he has not been told until when.
 */
void
doubts_tell(Doubts *doubts, Oid owner, int64 until, int64 now)
{
	OwnerDoubt *its = find_or_add(doubts, owner, now);
	bool		proven = is_proven(its, now);

	if (proven)
		tell(&doubts->key->proven, until, now);

	/*
	 * The others find out by themselves whether it is meant for them, once
	 * there is doubt.
	 */
	if (!proven || until != 0 || is_over(&doubts->key->others, now))
		tell(&doubts->key->others, until, now);
	/* What is told together counts once. */
	if (its->doubt.until <= now)
		its->proof = Max(its->proof - 1, -MOST_DISPROOF);
	tell(&its->doubt, until, now);
	its->told_at = now;
	its->earned /= 2;
}

/*
 * A request of this owner that was sent then, and paid for so, has been answered.
 */
void
doubts_answer(Doubts *doubts, Oid owner, Ask ask, int64 sent_at, int64 now)
{
	OwnerDoubt *its;

	if (ask == ASK_NONE)
		return;
	its = find_or_add(doubts, owner, now);
	its->answered_at = now;
	its->proof = Min(its->proof + ANSWER_PROVES, MOST_PROOF);

	/*
	 * No more than one for each, so that a server is asked as fast as it
	 * answers.
	 */
	if (answer(&its->doubt, sent_at) && is_recent(its->told_at, now))
	{
		if (!is_over(&its->doubt, now))
			its->doubt.asked--;
		its->earned++;
	}
	if (!is_exempt(its, now))
		(void) answer(ask == ASK_OTHER ? &doubts->key->others :
					  &doubts->key->proven, sent_at);
}

static Ask
next_ask(const OwnerDoubt *its, int64 now)
{
	if (is_exempt(its, now))
		return ASK_FREE;
	if (its != NULL && its->earned > 0 && is_recent(its->answered_at, now))
		return ASK_EARNED;
	return is_proven(its, now) ? ASK_PROVEN : ASK_OTHER;
}

/*
 * What pays for the next request of this owner.
 */
Ask
doubts_next_ask(const Doubts *doubts, Oid owner, int64 now)
{
	return next_ask(find(doubts, owner), now);
}

/*
 * The doubt that pays so for a request, beside that of its owner; NULL: none.
 */
static Doubt *
shared_doubt(const Doubts *doubts, Ask ask)
{
	return ask == ASK_PROVEN ? &doubts->key->proven :
		ask == ASK_OTHER ? &doubts->key->others : NULL;
}

/*
 * How many requests may be paid so now, as far as others are concerned.
 */
int
doubts_room(const Doubts *doubts, Ask ask, int64 now)
{
	Doubt	   *shared = shared_doubt(doubts, ask);

	return shared != NULL ? asks_left(shared, now) : PG_INT32_MAX;
}

/*
 * Until when this owner has been told to ask nothing: it may be over.
 */
int64
doubts_pause_end(const Doubts *doubts, Oid owner)
{
	OwnerDoubt *its = find(doubts, owner);

	return its != NULL ? its->doubt.until : 0;
}

static int
owner_asks_left(const Doubts *doubts, const OwnerDoubt *its, int64 now)
{
	Ask			ask = next_ask(its, now);
	Ask			shared = is_proven(its, now) ? ASK_PROVEN : ASK_OTHER;
	int			left = its != NULL ? asks_left(&its->doubt, now) : PG_INT32_MAX;
	int			others = doubts_room(doubts, shared, now);

	if (ask == ASK_FREE)
		return left;
	return Min(left, ask == ASK_EARNED ? Max(its->earned, others) : others);
}

/*
 * How many runs of this owner may ask now.
 */
int
doubts_asks_left(const Doubts *doubts, Oid owner, int64 now)
{
	return owner_asks_left(doubts, find(doubts, owner), now);
}

/*
 * The owners who may ask now, of those who have been answered or told anything: *count of
 * them, in palloc'd memory.
 */
Oid *
doubts_who_may(const Doubts *doubts, int64 now, int *count)
{
	Oid		   *owners;
	owner_table_iterator iterator;
	OwnerDoubt *its;

	*count = 0;
	if (doubts->owners == NULL)
		return NULL;
	owners = palloc(sizeof(Oid) * (doubts->owners->members + 1));
	owner_table_start_iterate(doubts->owners, &iterator);
	while ((its = owner_table_iterate(doubts->owners, &iterator)) != NULL)
	{
		if (owner_asks_left(doubts, its, now) > 0)
			owners[(*count)++] = its->owner;
	}
	return owners;
}

/*
 * A run of this owner asks. Returns what pays for it.
 */
Ask
doubts_note_ask(Doubts *doubts, Oid owner, int64 now)
{
	OwnerDoubt *its = find(doubts, owner);
	Ask			ask = next_ask(its, now);
	Doubt	   *shared = shared_doubt(doubts, ask);

	if (its != NULL)
		add_ask(&its->doubt, now);
	if (ask == ASK_EARNED)
		its->earned--;
	if (shared != NULL)
		add_ask(shared, now);
	return ask;
}

/*
 * It does not after all, for which this was to pay.
 */
void
doubts_take_ask_back(Doubts *doubts, Oid owner, Ask ask)
{
	OwnerDoubt *its = find(doubts, owner);
	Doubt	   *shared = shared_doubt(doubts, ask);

	if (its != NULL)
		take_ask_back(&its->doubt);
	if (ask == ASK_EARNED && its != NULL)
		its->earned++;
	if (shared != NULL)
		take_ask_back(shared);
}

/*
 * How many owners may not ask now, of those who have been answered or told anything.
 */
int
doubts_held(const Doubts *doubts, int64 now)
{
	owner_table_iterator iterator;
	OwnerDoubt *its;
	int			held = 0;

	if (doubts->owners == NULL)
		return 0;
	owner_table_start_iterate(doubts->owners, &iterator);
	while ((its = owner_table_iterate(doubts->owners, &iterator)) != NULL)
		held += owner_asks_left(doubts, its, now) == 0;
	return held;
}

/*
 * When somebody may ask again who may not now: NEVER if there is nobody.
 */
int64
doubts_next_change(const Doubts *doubts, int64 now)
{
	int64		next = Min(next_change(&doubts->key->others, now),
						   next_change(&doubts->key->proven, now));
	owner_table_iterator iterator;
	OwnerDoubt *its;

	if (doubts->owners == NULL)
		return next;
	owner_table_start_iterate(doubts->owners, &iterator);
	while ((its = owner_table_iterate(doubts->owners, &iterator)) != NULL)
		next = Min(next, next_change(&its->doubt, now));
	return next;
}

/*
 * Whether anybody may ask as if he had never been told.
 */
bool
doubts_are_over(const Doubts *doubts, int64 now)
{
	owner_table_iterator iterator;
	OwnerDoubt *its;

	if (!is_over(&doubts->key->others, now) || !is_over(&doubts->key->proven, now))
		return false;
	if (doubts->owners == NULL)
		return true;
	owner_table_start_iterate(doubts->owners, &iterator);
	while ((its = owner_table_iterate(doubts->owners, &iterator)) != NULL)
	{
		if (!is_over(&its->doubt, now))
			return false;
	}
	return true;
}

void
doubts_forget(Doubts *doubts)
{
	if (doubts->owners != NULL)
		owner_table_destroy(doubts->owners);
	doubts->owners = NULL;
}
