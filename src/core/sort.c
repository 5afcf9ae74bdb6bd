/*-------------------------------------------------------------------------
 *
 * sort.c
 *	  Sorting what others have put into an order.
 *
 * For each way to choose pivots there is an order in which quicksort takes the
 * square of the number of elements (McIlroy, A Killer Adversary for Quicksort,
 * 1999), and qsort() of PostgreSQL has a known one. Nobody can tell the order in
 * which elements are that have been shuffled.
 *
 * Pure, but for the state of PostgreSQL's random numbers, which each process of the
 * server has seeded.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "common/pg_prng.h"
#include "core/sort.h"

/*
 * qsort() in about count * log2(count) comparisons, whatever order the elements
 * are in. Each has at most MAX_SORTED_SIZE bytes.
 */
void
shuffled_qsort(void *elements, size_t count, size_t size,
			   int (*compare) (const void *, const void *))
{
	char	   *base = elements;
	char		kept[MAX_SORTED_SIZE];

	Assert(size <= MAX_SORTED_SIZE);
	for (size_t left = count; left > 1; left--)
	{
		char	   *last = base + (left - 1) * size;
		char	   *other = base + size *
			pg_prng_uint64_range(&pg_global_prng_state, 0, left - 1);

		memcpy(kept, last, size);
		memmove(last, other, size);
		memcpy(other, kept, size);
	}
	qsort(elements, count, size, compare);
}
