/*-------------------------------------------------------------------------
 *
 * acceptance.h
 *	  When runs are accepted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_ACCEPTANCE_H
#define AGNO_ACCEPTANCE_H

#include "datatype/timestamp.h"

extern void acceptance_request_memory(void);
extern void acceptance_startup(void);
extern TimestampTz acceptance_time(void);

#endif							/* AGNO_ACCEPTANCE_H */
