/*-------------------------------------------------------------------------
 *
 * doubts.h
 *	  Owners whom a server has told not to ask it now.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_DOUBTS_H
#define AGNO_DOUBTS_H

#include "core/clock.h"

struct doubt_table_hash;

/*
 * Those who have been told so with one key to a server. All zero: nobody has. What it holds
 * is in TopMemoryContext.
 */
typedef struct Doubts
{
	struct doubt_table_hash *by_owner;	/* NULL: nobody has yet */
} Doubts;

extern void doubts_tell(Doubts *doubts, Oid owner, int64 until, int64 now);
extern bool doubts_answer(Doubts *doubts, Oid owner, int64 sent_at, int64 now);
extern int64 doubts_pause_end(const Doubts *doubts, Oid owner);
extern int	doubts_asks_left(const Doubts *doubts, Oid owner, int64 now);
extern void doubts_note_ask(Doubts *doubts, Oid owner, int64 now);
extern void doubts_take_ask_back(Doubts *doubts, Oid owner);
extern int	doubts_count(const Doubts *doubts);
extern int64 doubts_next_change(const Doubts *doubts, int64 now);
extern bool doubts_are_over(const Doubts *doubts, int64 now);
extern void doubts_forget(Doubts *doubts);

#endif							/* AGNO_DOUBTS_H */
