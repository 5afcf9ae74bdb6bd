/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The process that keeps a runner in each database with the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_LAUNCHER_H
#define AGNO_LAUNCHER_H

#define LAUNCHER_TYPE "agno_bg launcher"

extern void launcher_register(void);

#endif							/* AGNO_LAUNCHER_H */
