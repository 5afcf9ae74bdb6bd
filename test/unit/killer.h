/*-------------------------------------------------------------------------
 *
 * killer.h
 *	  An order of elements that makes qsort() slow.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_KILLER_H
#define AGNO_KILLER_H

#include <time.h>

#include "common/pg_prng.h"
#include "lib/stringinfo.h"

#define KILLER_COUNT 20000

/* The rank of each element; of those that are not decided yet, KILLER_COUNT. */
static int	killer_ranks[KILLER_COUNT];
static int	killer_decided;
static int	killer_candidate;

/*
 * Decide as late as can be, and so that the pivot is among the smallest (McIlroy).
 * Neighbours in the array are in order, or qsort() would find it sorted.
 */
static int
killer_compare(const void *a, const void *b)
{
	int			left = *(const int *) a;
	int			right = *(const int *) b;

	if (killer_ranks[left] == KILLER_COUNT &&
		killer_ranks[right] == KILLER_COUNT)
	{
		if (left == killer_candidate && (const int *) b != (const int *) a + 1)
			killer_ranks[left] = killer_decided++;
		else
			killer_ranks[right] = killer_decided++;
	}
	if (killer_ranks[left] == KILLER_COUNT)
		killer_candidate = left;
	else if (killer_ranks[right] == KILLER_COUNT)
		killer_candidate = right;
	return killer_ranks[left] - killer_ranks[right];
}

/*
 * The numbers from 0 up to KILLER_COUNT in the order that is the worst for qsort().
 */
static inline const int *
killer_order(void)
{
	int			elements[KILLER_COUNT];

	if (killer_decided > 0)
		return killer_ranks;
	pg_prng_seed(&pg_global_prng_state, time(NULL));
	for (int i = 0; i < KILLER_COUNT; i++)
	{
		elements[i] = i;
		killer_ranks[i] = KILLER_COUNT;
	}
	qsort(elements, KILLER_COUNT, sizeof(int), killer_compare);
	for (int i = 0; i < KILLER_COUNT; i++)
	{
		if (killer_ranks[i] == KILLER_COUNT)
			killer_ranks[i] = killer_decided++;
	}
	return killer_ranks;
}

/*
 * Append JSON for each of the numbers, made by a format, with commas between them.
 */
static inline void
killer_append(StringInfo out, const char *format)
{
	for (int i = 0; i < KILLER_COUNT; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		appendStringInfo(out, format, killer_order()[i]);
	}
}

#endif							/* AGNO_KILLER_H */
