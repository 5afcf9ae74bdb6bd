/*-------------------------------------------------------------------------
 *
 * slots.c
 *	  New ids, and the slots of ids in the database's encoding.
 *
 * A run has the slot of its session, so that where the run is follows from its id
 * alone: see core/slot.h. Which slots the other servers have is for routers to know.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "core/slot.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "server/sql_function.h"
#include "sql/slots.h"
#include "utils/builtins.h"

SQL_FUNCTION(agno_slot);
SQL_FUNCTION(agno_new_id);

/*
 * The slot of an id.
 */
int
slot_of(const char *id)
{
	int			slot = id_slot(encoding_from_server(id));

	if (slot < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the slot of an id")));
	return slot;
}

/*
 * The slot of a session that nothing is known of: any that this server has.
 */
int
some_slot(void)
{
	int			first;
	int			last;

	if (!agno_cluster)
		return ANY_SLOT;
	settings_slots(&first, &last);
	return (int) pg_prng_uint64_range(&pg_global_prng_state, first, last);
}

/*
 * A new id of this slot, or of ANY_SLOT.
 */
char *
generate_id(int slot)
{
	char	   *id = palloc(UUID_TEXT_SIZE);

	if (!new_id(id, slot))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return id;
}

/*
 * One of several servers refuses a run that would not be looked for here, or whose
 * id says that it is elsewhere. Errors: object_not_in_prerequisite_state,
 * invalid_parameter_value.
 */
void
check_slots(const char *run_id, const char *session_id)
{
	int			slot;
	int			first;
	int			last;

	if (!agno_cluster)
		return;
	slot = slot_of(session_id);
	settings_slots(&first, &last);
	if (slot < first || slot > last)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("session \"%s\" belongs to another server",
						session_id),
				 errdetail("Its slot is %d; this server has those from %d to %d.",
						   slot, first, last),
				 errhint("Enqueue the run through a router.")));
	if (looks_generated(run_id) && slot_of(run_id) != slot)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("run_id \"%s\" is of another slot than its session",
						run_id),
				 errdetail("The slot of the run_id is %d, that of the session \"%s\" is %d.",
						   slot_of(run_id), session_id, slot),
				 errhint("Leave run_id out to have one generated, or give one that does not look like a UUID of version 7.")));
}

/*
 * agno_slot(id text) returns integer
 *
 * The slot of a run or a session by its id, from 0 to 65535.
 */
Datum
agno_slot(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(slot_of(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * agno.new_id(slot integer) returns text
 *
 * A new id of this slot. Errors: numeric_value_out_of_range.
 */
Datum
agno_new_id(PG_FUNCTION_ARGS)
{
	int32		slot = PG_GETARG_INT32(0);

	if (slot < 0 || slot >= SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("slot must be from 0 to %d", SLOTS - 1)));
	PG_RETURN_TEXT_P(cstring_to_text(generate_id(slot)));
}
