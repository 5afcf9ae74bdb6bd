/*-------------------------------------------------------------------------
 *
 * tool_plans.c
 *	  The plans of the statements that call tools.
 *
 * Never executes one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tools/tool_plans.h"
#include "utils/memutils.h"

/*
 * Statements that are prepared once: a tool worker calls the same few tools. Lives
 * as long as the process; PostgreSQL plans them again when what they use changes.
 *
 * A plan that is given up must not be executing: so calls that are made within
 * others, by agno_call_tool(), keep none.
 */
#define KEPT_PLANS 32

typedef struct KeptPlan
{
	char	   *sql;
	int			count;			/* of parameters */
	Oid		   *types;
	SPIPlanPtr	plan;			/* NULL: the place is free */
} KeptPlan;

static KeptPlan kept_plans[KEPT_PLANS];
static int	next_place;			/* whose plan is given up next */

/*
 * Prepare a statement with parameters of these types, until SPI_finish().
 */
static SPIPlanPtr
prepare(const char *sql, int count, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare(sql, count, types);

	if (plan == NULL)
		elog(ERROR, "could not prepare the call of a tool: %s",
			 SPI_result_code_string(SPI_result));
	return plan;
}

/*
 * The plan of a statement with parameters of these types, kept for the next time.
 */
static SPIPlanPtr
kept_plan(const char *sql, int count, Oid *types)
{
	KeptPlan   *place;
	SPIPlanPtr	plan;
	size_t		size = sizeof(Oid) * Max(count, 1);

	for (int i = 0; i < KEPT_PLANS; i++)
	{
		place = &kept_plans[i];
		if (place->plan != NULL && place->count == count &&
			memcmp(place->types, types, sizeof(Oid) * count) == 0 &&
			strcmp(place->sql, sql) == 0)
			return place->plan;
	}

	plan = prepare(sql, count, types);
	place = &kept_plans[next_place];
	next_place = (next_place + 1) % KEPT_PLANS;
	if (place->plan != NULL)
	{
		SPIPlanPtr	old = place->plan;

		place->plan = NULL;
		pfree(place->sql);
		pfree(place->types);
		SPI_freeplan(old);
	}
	place->sql = MemoryContextStrdup(TopMemoryContext, sql);
	place->types = MemoryContextAlloc(TopMemoryContext, size);
	memcpy(place->types, types, sizeof(Oid) * count);
	place->count = count;
	SPI_keepplan(plan);
	place->plan = plan;
	return plan;
}

/*
 * The plan of a statement with parameters of these types: until SPI_finish(), or kept
 * for the next time.
 */
SPIPlanPtr
tool_plan(const char *sql, int count, Oid *types, bool keep)
{
	return keep ? kept_plan(sql, count, types) : prepare(sql, count, types);
}
