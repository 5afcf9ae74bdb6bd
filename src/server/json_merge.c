/*-------------------------------------------------------------------------
 *
 * json_merge.c
 *	  Objects of jsonb, merged as merge_dictionaries() of Agno does it.
 *
 * The members of one are merged into the other, at all levels; where both have
 * a value that is no object, the second wins. jsonb keeps the keys of an
 * object in order, so this takes one walk over both.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "server/json_merge.h"
#include "server/sql_function.h"

SQL_FUNCTION(agno_merge_json);

/* A walk over the members of an object. */
typedef struct Walk
{
	JsonbIterator *iterator;
	bool		more;			/* key and value are a member */
	JsonbValue	key;
	JsonbValue	value;			/* containers as a whole */
} Walk;

static void
next_member(Walk *walk)
{
	walk->more = JsonbIteratorNext(&walk->iterator, &walk->key,
								   true) == WJB_KEY;
	if (walk->more)
		(void) JsonbIteratorNext(&walk->iterator, &walk->value, true);
}

static void
begin_walk(Walk *walk, JsonbContainer *object)
{
	walk->iterator = JsonbIteratorInit(object);
	(void) JsonbIteratorNext(&walk->iterator, &walk->key, true);
	next_member(walk);
}

/*
 * The order in which jsonb keeps keys: shorter ones first.
 */
static int
compare_keys(const JsonbValue *a, const JsonbValue *b)
{
	if (a->val.string.len != b->val.string.len)
		return a->val.string.len < b->val.string.len ? -1 : 1;
	return memcmp(a->val.string.val, b->val.string.val, a->val.string.len);
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data);
}

static JsonbValue *
merge_objects(JsonbParseState **state, JsonbContainer *a, JsonbContainer *b)
{
	Walk		left;
	Walk		right;

	check_stack_depth();
	begin_walk(&left, a);
	begin_walk(&right, b);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	while (left.more || right.more)
	{
		int			order = !left.more ? 1 : !right.more ? -1 :
			compare_keys(&left.key, &right.key);

		CHECK_FOR_INTERRUPTS();
		pushJsonbValue(state, WJB_KEY, order <= 0 ? &left.key : &right.key);
		if (order == 0 && is_object(&left.value) && is_object(&right.value))
			(void) merge_objects(state, left.value.val.binary.data,
								 right.value.val.binary.data);
		else
			pushJsonbValue(state, WJB_VALUE,
						   order < 0 ? &left.value : &right.value);
		if (order <= 0)
			next_member(&left);
		if (order >= 0)
			next_member(&right);
	}
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * b merged into a, in the current memory context; b itself unless both are
 * objects.
 */
Jsonb *
json_merge(Jsonb *a, Jsonb *b)
{
	JsonbParseState *state = NULL;

	if (!JB_ROOT_IS_OBJECT(a) || !JB_ROOT_IS_OBJECT(b))
		return b;
	return JsonbValueToJsonb(merge_objects(&state, &a->root, &b->root));
}

/*
 * agno.merge_json(a jsonb, b jsonb) returns jsonb: what of them is not null,
 * merged.
 */
Datum
agno_merge_json(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(0))
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	if (PG_ARGISNULL(1))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	PG_RETURN_JSONB_P(json_merge(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1)));
}
