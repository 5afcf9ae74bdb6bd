/*-------------------------------------------------------------------------
 *
 * chore.h
 *	  The kinds of table work of a runner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CHORE_H
#define AGNO_CHORE_H

/*
 * The kinds of table work. Those up to CHORE_START are done by turns, together;
 * the others have transactions of their own.
 */
typedef enum Chore
{
	CHORE_PATROL,				/* take the queue over from an earlier runner */
	CHORE_SIGNALS,				/* read what backends have signalled */
	CHORE_STORE,				/* store flights that have ended */
	CHORE_RESPONSES,			/* store ids of responses that servers work on */
	CHORE_FLUSH,				/* store events of streamed runs */
	CHORE_CLOCK,				/* what has come due: scheduled and locked
								 * runs, markers that met no run */
	CHORE_SWEEP,				/* scheduled runs of owners who are hidden */
	CHORE_UNPARK,				/* fetch runs that wait for their model
								 * servers, or give them up */
	CHORE_START,				/* start ready runs */
	CHORE_PREPARED,				/* look for prepared transactions */
	CHORE_EXPIRE,				/* delete old runs */
	CHORES
} Chore;

#define CHORE_BIT(chore) (1U << (chore))

#endif							/* AGNO_CHORE_H */
