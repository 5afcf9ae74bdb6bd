/*-------------------------------------------------------------------------
 *
 * sort.h
 *	  Sorting what others have put into an order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SORT_H
#define AGNO_SORT_H

/* The largest element that shuffled_qsort() takes, in bytes. */
#define MAX_SORTED_SIZE 64

extern void shuffled_qsort(void *elements, size_t count, size_t size,
						   int (*compare) (const void *, const void *));

#endif							/* AGNO_SORT_H */
