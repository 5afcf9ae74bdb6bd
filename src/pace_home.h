/*-------------------------------------------------------------------------
 *
 * pace_home.h
 *	  The loads of model servers that the runners of a database share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PACE_HOME_H
#define AGNO_PACE_HOME_H

#include "pacing.h"

/* For pacing_create(), where there are several runners. */
extern const LoadHome shared_pace_home;

extern void pace_home_request_memory(void);
extern void pace_home_startup(void);
extern void pace_home_forget(int number);

#endif							/* AGNO_PACE_HOME_H */
