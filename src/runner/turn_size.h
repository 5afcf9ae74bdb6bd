/*-------------------------------------------------------------------------
 *
 * turn_size.h
 *	  How much a turn may do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TURN_SIZE_H
#define AGNO_TURN_SIZE_H

#include "runner/turn.h"

/*
 * What is known of that. A runner's own memory; times are those of clock_now().
 */
typedef struct TurnSize
{
	int64		shared_until;	/* turns are to be short until then */
	Oid			worked_for;		/* whom the last turn that was about anybody
								 * was about, at its end, */
	int64		worked_at;		/* which was then */
	int64		used;			/* what this process had had of the processors
								 * when the last one ended, */
	int64		used_elsewhere; /* and has had from then to this one, in
								 * microseconds */
	double		run_time;		/* what a run takes of a turn, in
								 * microseconds, and */
	double		commit_time;	/* what its commit does: averages */
} TurnSize;

extern bool turn_size_begin(TurnSize *size, const Turn *turn, int64 now);
extern int	turn_size_limit(const TurnSize *size, bool shared);
extern void turn_size_end(TurnSize *size);
extern bool turn_size_note_owners(TurnSize *size, const Turn *turn);
extern void turn_size_note_time(TurnSize *size, const Turn *turn,
								int64 all);

#endif							/* AGNO_TURN_SIZE_H */
