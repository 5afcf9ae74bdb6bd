/*-------------------------------------------------------------------------
 *
 * load_table.h
 *	  The loads of model servers that the runners of a database share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_LOAD_TABLE_H
#define AGNO_LOAD_TABLE_H

#include "runner/pacing.h"

/* For pacing_create(), where there are several runners. */
extern const LoadTable shared_loads;

extern void load_table_request_memory(void);
extern void load_table_startup(void);
extern void load_table_forget_runner(int number);

#endif							/* AGNO_LOAD_TABLE_H */
