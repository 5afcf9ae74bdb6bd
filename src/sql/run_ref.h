/*-------------------------------------------------------------------------
 *
 * run_ref.h
 *	  The agno.run_ref that functions return.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RUN_REF_H
#define AGNO_RUN_REF_H

#include "fmgr.h"
#include "store/store.h"

extern Datum run_ref_status(RunStatus status, Oid type);
extern Datum run_ref(FunctionCallInfo fcinfo, const RunRow *state);

#endif							/* AGNO_RUN_REF_H */
