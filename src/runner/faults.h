/*-------------------------------------------------------------------------
 *
 * faults.h
 *	  What has failed in turns, and what follows from that for the next ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_FAULTS_H
#define AGNO_FAULTS_H

#include "runner/turn.h"

/*
 * All times are those of clock_now(). A runner's own memory; lives as long as the
 * process.
 */
typedef struct Faults
{
	int			failures;		/* in a row */
	bool		reported;		/* the fault is in the log, until turns are as
								 * large again as they were */
	int64		not_before;		/* the next turn */
	int			limit;			/* store and start no more runs at once, */
	int			kept_for;		/* for so many turns at least */
	int			signal_limit;	/* read no more signals at once */
	bool		one_by_one;		/* turns of one run are about nothing else: a
								 * commit has failed, until turns are as large
								 * again as they were */
	bool		parts_apart;	/* and parts are done one by one, too: one
								 * that was about them alone has failed
								 * likewise */
	uint32		narrow_turns;	/* how many there have been about one thing */
	int64		left_out_until[TURN_PARTS]; /* parts that fail */
	int64		part_pause[TURN_PARTS]; /* the last one of each */
	char	   *memory_culprit; /* the run that the memory was exhausted by,
								 * or NULL */
	int			memory_failures;	/* how many times */
	int64		scarce_until;	/* nothing is started before: there was too
								 * little memory */
	int64		mute_until;		/* nobody is notified before */
	int64		measured_until; /* turns measure who takes how long, */
	int			measured_for;	/* and so many more that are not for one owner */
} Faults;

extern void faults_init(Faults *faults);
extern bool faults_is_news(Faults *faults, const Turn *turn);
extern void faults_note(Faults *faults, Turn *turn, ErrorData *error,
						bool at_commit);
extern void faults_none(Faults *faults, const Turn *turn);
extern void faults_measure(Faults *faults);
extern bool faults_measures(Faults *faults, bool own, int64 now);
extern bool faults_memory_is_scarce(const Faults *faults, int64 now);
extern void faults_narrow(Faults *faults, Turn *turn, int64 now);

#endif							/* AGNO_FAULTS_H */
