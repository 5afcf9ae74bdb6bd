/*-------------------------------------------------------------------------
 *
 * run_ref.c
 *	  The agno.run_ref that functions return.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "sql/run_ref.h"
#include "utils/builtins.h"

/*
 * A status as a value of agno.run_status, which has this OID.
 */
Datum
run_ref_status(RunStatus status, Oid type)
{
	return DirectFunctionCall2(enum_in,
							   CStringGetDatum(run_status_name(status)),
							   ObjectIdGetDatum(type));
}

/*
 * The agno.run_ref that a function returns.
 */
Datum
run_ref(FunctionCallInfo fcinfo, const RunRow *state)
{
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	values[0] = CStringGetTextDatum(state->run_id);
	values[1] = CStringGetTextDatum(state->session_id);
	values[2] = run_ref_status(state->status,
							   TupleDescAttr(desc, 2)->atttypid);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}
