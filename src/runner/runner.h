/*-------------------------------------------------------------------------
 *
 * runner.h
 *	  The process that executes the runs of one database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RUNNER_H
#define AGNO_RUNNER_H

#define RUNNER_TYPE "agno_bg runner"

/* Exported for the postmaster; see launcher.c. */
extern PGDLLEXPORT void agno_bg_runner_main(Datum arg);

#endif							/* AGNO_RUNNER_H */
