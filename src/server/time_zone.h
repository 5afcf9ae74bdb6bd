/*-------------------------------------------------------------------------
 *
 * time_zone.h
 *	  Time zones that a role may name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TIME_ZONE_H
#define AGNO_TIME_ZONE_H

#include "pgtime.h"

extern pg_tz *time_zone_find(const char *name);

#endif							/* AGNO_TIME_ZONE_H */
