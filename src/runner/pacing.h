/*-------------------------------------------------------------------------
 *
 * pacing.h
 *	  How fast each model server may be asked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PACING_H
#define AGNO_PACING_H

#include "runner/pace_table.h"
#include "server/model_server.h"

extern void pacing_begin_turn(PaceTable *paces);
extern bool pacing_admit(PaceTable *paces, Pace *pace,
						 const ModelServer *server, Oid owner, bool is_new,
						 int64 now, Ask *ask);
extern void pacing_recheck(PaceTable *paces);
extern void pacing_give_back(PaceTable *paces, Pace *pace, Oid owner, Ask ask);
extern bool pacing_started(PaceTable *paces, Pace *pace, Oid owner, Ask ask);
extern bool pacing_come_back(PaceTable *paces, Pace *pace, Oid owner,
							 int64 *seen, int64 now, Ask *ask);
extern Ask	pacing_note_request(PaceTable *paces, Pace *pace, Oid owner,
								int64 now);
extern void pacing_note_unsent(PaceTable *paces, Pace *pace, Oid owner,
							   Ask ask, int64 now);
extern uint32 pacing_pause(PaceTable *paces, Pace *pace, Oid owner,
						   bool trying, int64 tokens, int64 now);
extern void pacing_leave(PaceTable *paces, Pace *pace, Oid owner, int64 now);
extern int	pacing_owner_room(PaceTable *paces, const Pace *pace, Oid owner,
							  int64 now, Ask *ask);
extern void pacing_shared_rooms(PaceTable *paces, const Pace *pace, int64 now,
								int rooms[ASK_KINDS]);
extern Oid *pacing_who_may(PaceTable *paces, const Pace *pace, int64 now,
						   int *count);
extern int	pacing_held(PaceTable *paces, const Pace *pace, int64 now);
extern bool pacing_leaves(const Pace *pace, int64 pause);
extern void pacing_block(PaceTable *paces, Pace *pace, Oid owner,
						 int64 until, int64 now);
extern void pacing_answered(PaceTable *paces, Pace *pace, Oid owner, Ask ask,
							int64 sent_at, int64 now);
extern bool pacing_may_ask(PaceTable *paces, Pace *pace, Oid owner, int64 now,
						   Ask *ask);
extern int64 pacing_closed_until(PaceTable *paces, Pace *pace, Oid owner);

extern void pacing_held_back(PaceTable *paces, Pace *pace, int64 now);

extern void pacing_note_fetched(Pace *pace, Oid owner);
extern void pacing_note_start(Pace *pace, Oid owner);
extern void pacing_stall(PaceTable *paces, Pace *pace, int64 now);
extern int	pacing_unparkable(PaceTable *paces, Pace *pace, int64 now);
extern void pacing_none_parked(PaceTable *paces, Pace *pace);
extern void pacing_desert(PaceTable *paces, const char *key);
extern int64 pacing_next_at(PaceTable *paces, int64 now);

#endif							/* AGNO_PACING_H */
