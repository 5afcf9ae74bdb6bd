/*-------------------------------------------------------------------------
 *
 * doubts.h
 *	  Whom a server has told not to ask it now.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_DOUBTS_H
#define AGNO_DOUBTS_H

#include "core/clock.h"

/* What somebody has been told, and what has come of it. All zero: nothing. */
typedef struct Doubt
{
	int64		until;			/* nothing is to be asked until then, */
	int64		begun_at;		/* as has been said since then, */
	int			pauses;			/* so many times without an answer */
	int			asked;			/* how often it has been asked since that was
								 * said, less what the answers make up for */
} Doubt;

/*
 * What has been told with one key, by all runners. In its Load, and guarded like that.
 */
typedef struct KeyDoubt
{
	Doubt		proven;			/* those who are answered as well, */
	Doubt		others;			/* and those who are not */
} KeyDoubt;

/*
 * What pays for a request that is about to be sent, or is on its way.
 */
typedef enum Ask
{
	ASK_NONE,					/* nothing: there is no such request, or it
								 * need not ask */
	ASK_FREE,					/* only its owner: he is answered, and is not
								 * told to wait */
	ASK_EARNED,					/* likewise: by an answer that he has had */
	ASK_PROVEN,					/* he, and all who are answered as well */
	ASK_OTHER					/* he, and all who are not */
} Ask;

#define ASK_KINDS (ASK_OTHER + 1)

struct owner_table_hash;

/*
 * Who has been told so with one key to a server. What it holds is in TopMemoryContext.
 */
typedef struct Doubts
{
	KeyDoubt   *key;			/* what all with that key have been told */
	struct owner_table_hash *owners;	/* what each owner has, by this one;
										 * NULL: nothing yet */
	uint32		many;			/* when these are as many, those of whom
								 * nothing needs to be known are forgotten */
} Doubts;

extern void doubts_init(Doubts *doubts, KeyDoubt *key);
extern void doubts_tell(Doubts *doubts, Oid owner, int64 until, int64 now);
extern void doubts_answer(Doubts *doubts, Oid owner, Ask ask, int64 sent_at,
						  int64 now);
extern Ask	doubts_next_ask(const Doubts *doubts, Oid owner, int64 now);
extern int	doubts_room(const Doubts *doubts, Ask ask, int64 now);
extern Oid *doubts_who_may(const Doubts *doubts, int64 now, int *count);
extern int64 doubts_pause_end(const Doubts *doubts, Oid owner);
extern int	doubts_asks_left(const Doubts *doubts, Oid owner, int64 now);
extern Ask	doubts_note_ask(Doubts *doubts, Oid owner, int64 now);
extern void doubts_take_ask_back(Doubts *doubts, Oid owner, Ask ask);
extern int	doubts_held(const Doubts *doubts, int64 now);
extern int64 doubts_next_change(const Doubts *doubts, int64 now);
extern bool doubts_are_over(const Doubts *doubts, int64 now);
extern void doubts_forget(Doubts *doubts);

#endif							/* AGNO_DOUBTS_H */
