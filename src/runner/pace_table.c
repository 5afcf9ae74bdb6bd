/*-------------------------------------------------------------------------
 *
 * pace_table.c
 *	  What a runner knows of the model servers, and of the keys to them.
 *
 * Finds the pace of a server as used with a key, in whose turn they are, with the server
 * itself (its target), and with the loads that runners share; and forgets those that
 * nothing depends on. What a pace allows is for pacing.c to say.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/pace_table.h"
#include "utils/memutils.h"

/*
 * When the runners have more paces than this, those that nothing depends on are
 * forgotten: a role may use any number of user mappings, one after the other. There
 * is room for so many in the table.
 */
#define KEPT_PACES 1000

/* A target by the name of its server. */
typedef struct NamedTarget
{
	char	   *name;
	Target		target;
} NamedTarget;

/*
 * Create it, for the runner with this number; table is NULL when it is alone.
 * It lives as long as the process.
 */
PaceTable *
pace_table_create(int number, const LoadTable *table)
{
	PaceTable  *paces = MemoryContextAllocZero(TopMemoryContext,
											   sizeof(PaceTable));

	paces->number = number;
	paces->table = table;
	dlist_init(&paces->all);
	return paces;
}

/*
 * Nobody else looks at the loads, or changes them, until they are unlocked.
 */
void
pace_table_lock(PaceTable *paces)
{
	if (paces->table != NULL)
		paces->table->lock();
}

void
pace_table_unlock(PaceTable *paces)
{
	if (paces->table != NULL)
		paces->table->unlock();
}

/*
 * The load of this name; *own tells whether it is in our own memory.
 */
static Load *
find_load(PaceTable *paces, const char *name, bool *own)
{
	Load	   *load = NULL;

	if (paces->table != NULL)
		load = paces->table->find(name, paces->number);
	*own = load == NULL;
	if (load == NULL)
		load = palloc0(sizeof(Load));
	return load;
}

/*
 * This load is not needed any more. The loads must be locked.
 */
static void
release_load(PaceTable *paces, Load *load, bool own)
{
	Assert(own || paces->table != NULL);
	if (own)
		pfree(load);
	else
		paces->table->release(load, paces->number);
}

/*
 * The target of this server, made if there is none.
 */
static Target *
find_target(PaceTable *paces, const char *server)
{
	ListCell   *cell;
	NamedTarget *named;
	Load	   *load;
	bool		own_load;
	MemoryContext old;

	foreach(cell, paces->targets)
	{
		named = lfirst(cell);
		if (strcmp(named->name, server) == 0)
			return &named->target;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	named = palloc0(sizeof(NamedTarget));
	named->name = pstrdup(server);
	/* no key looks like this */
	load = find_load(paces, psprintf("%s/*", server), &own_load);
	places_init(&named->target.places, load, own_load);
	paces->targets = lappend(paces->targets, named);
	MemoryContextSwitchTo(old);
	return &named->target;
}

/*
 * The pace of this name, or NULL.
 */
Pace *
pace_table_named(PaceTable *paces, const char *key)
{
	dlist_iter	iter;

	dlist_foreach(iter, &paces->all)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (strcmp(pace->key, key) == 0)
			return pace;
	}
	return NULL;
}

/*
 * Forget tokens that were used some time ago; and, of those of which a server says
 * that there were very many, all that would block its key for longer than anything
 * else that it says.
 */
void
pace_forget_tokens(Pace *pace, int64 now)
{
	Load	   *load = pace->load;
	double		per_minute = pace->tokens_per_minute;

	if (per_minute > 0)
		load->tokens = Min(load->tokens,
						   per_minute * (1 + LONGEST_BLOCK / US_PER_MINUTE));
	load->tokens -= per_minute * (now - load->tokens_at) / US_PER_MINUTE;
	load->tokens = Max(load->tokens, 0);
	load->tokens_at = now;
}

/*
 * Whether one that began anew would be like this pace, and nobody has it now.
 */
static bool
is_idle(const PaceTable *paces, Pace *pace, int64 now)
{
	pace_forget_tokens(pace, now);
	return pace->used_in != paces->turn && pace->in_flight == 0 &&
		pace->reserved == NIL && !pace->parked &&
		doubts_are_over(&pace->doubts, now) &&
		pace->load->next_request <= now && pace->load->blocked_until <= now &&
		(pace->tokens_per_minute == 0 || pace->load->tokens == 0);
}

/*
 * Nobody knows this server any more.
 */
static void
forget_target(PaceTable *paces, Target *target)
{
	ListCell   *cell;

	foreach(cell, paces->targets)
	{
		NamedTarget *named = lfirst(cell);

		if (&named->target != target)
			continue;
		paces->targets = foreach_delete_current(paces->targets, cell);
		release_load(paces, target->places.load, target->places.own_load);
		places_forget(&target->places);
		reach_forget(&target->reach);
		pfree(named->name);
		pfree(named);
		return;
	}
}

static void
forget_idle(PaceTable *paces, int64 now)
{
	dlist_mutable_iter iter;

	pace_table_lock(paces);
	dlist_foreach_modify(iter, &paces->all)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (!is_idle(paces, pace, now))
			continue;
		dlist_delete(&pace->node);
		paces->count--;
		if (--pace->target->paces == 0)
			forget_target(paces, pace->target);
		release_load(paces, pace->load, pace->own_load);
		list_free(pace->untried);
		doubts_forget(&pace->doubts);
		crowd_forget(&pace->crowd);
		circle_forget(&pace->circle);
		pfree(pace->key);
		pfree(pace);
	}
	pace_table_unlock(paces);
}

/*
 * The pace of a server as used with this user mapping; invalid: with none.
 */
Pace *
pace_table_find(PaceTable *paces, const char *server, Oid mapping)
{
	char	   *key = psprintf("%s/%u", server, mapping);
	Pace	   *pace = pace_table_named(paces, key);
	int			most = KEPT_PACES / (paces->table != NULL ? agno_runners : 1);
	MemoryContext old;

	if (pace != NULL)
	{
		pace->used_in = paces->turn;
		return pace;
	}
	if (paces->count >= most)
		forget_idle(paces, clock_now());
	old = MemoryContextSwitchTo(TopMemoryContext);
	pace = palloc0(sizeof(Pace));
	pace->key = pstrdup(key);
	pace->target = find_target(paces, server);
	pace->load = find_load(paces, key, &pace->own_load);
	doubts_init(&pace->doubts, &pace->load->doubt);
	crowd_init(&pace->crowd, OPEN_PARKED, pace->key);
	pace->give_up_at = NEVER;
	pace->used_in = paces->turn;
	pace->target->paces++;
	dlist_push_tail(&paces->all, &pace->node);
	paces->count++;
	MemoryContextSwitchTo(old);
	return pace;
}

/*
 * A flight has this pace.
 */
void
pace_table_keep(Pace *pace)
{
	pace->in_flight++;
}

/*
 * It has not any more.
 */
void
pace_table_let_go(Pace *pace)
{
	pace->in_flight--;
}

/*
 * This key has had its turn: the others to its server come first.
 */
void
pace_table_end_turn(PaceTable *paces, Pace *pace)
{
	dlist_delete(&pace->node);
	dlist_push_tail(&paces->all, &pace->node);
}

/*
 * The next pace after this one, or the first after NULL, that runs may be
 * parked for; NULL when there is none.
 */
Pace *
pace_table_next_parked(PaceTable *paces, Pace *after)
{
	dlist_node *node = after != NULL ? &after->node : &paces->all.head;

	while (node->next != &paces->all.head)
	{
		Pace	   *pace = dlist_container(Pace, node, node->next);

		if (pace->parked)
			return pace;
		node = node->next;
	}
	return NULL;
}

/*
 * pace_table_next_parked() begins after this pace, and comes to it last.
 */
void
pace_table_begin_after(PaceTable *paces, Pace *pace)
{
	dlist_node *head = &paces->all.head;

	/* The list is a ring, in which the head stands before the first one. */
	dlist_delete(head);
	dlist_insert_after(&pace->node, head);
}
