/*-------------------------------------------------------------------------
 *
 * arguments.h
 *	  The arguments of SQL functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_ARGUMENTS_H
#define AGNO_ARGUMENTS_H

#include "fmgr.h"

/* How many levels of JSON there may be: cJSON reads 1000. */
#define ARGUMENT_MAX_DEPTH 500

/* The longest timeout: ten years, in milliseconds. */
#define ARGUMENT_MAX_MS (10.0 * 366 * 86400 * 1000)

extern _Noreturn void argument_error(const char *message, const char *hint);
extern void argument_unknown_run(const char *run_id);
extern char *argument_text(FunctionCallInfo fcinfo, int argument);
extern const char *argument_id(FunctionCallInfo fcinfo, int argument,
							   const char *name);
extern void argument_check_size(const char *name, int64 size);
extern void argument_check_text(NullableDatum datum, const char *name);
extern NullableDatum argument_object(FunctionCallInfo fcinfo, int argument,
									 const char *name);
extern double argument_interval_ms(Datum interval);
extern void argument_check_schema(Datum schema);

#endif							/* AGNO_ARGUMENTS_H */
