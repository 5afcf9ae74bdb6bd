/*
 * sort.c: comparisons are few in the order that is the worst for qsort(), too.
 */
#include "core/portable.h"

#include "core/sort.h"
#include "killer.h"
#include "unit.h"

/* What a random order may take: twice KILLER_COUNT * log2(KILLER_COUNT). */
#define FEW (2 * 15 * KILLER_COUNT)

static int	comparisons;

static int
compare_numbers(const void *a, const void *b)
{
	comparisons++;
	return *(const int *) a - *(const int *) b;
}

static bool
is_sorted(const int *numbers)
{
	for (int i = 0; i < KILLER_COUNT; i++)
	{
		if (numbers[i] != i)
			return false;
	}
	return true;
}

static void
test_killer(void)
{
	int			numbers[KILLER_COUNT];

	memcpy(numbers, killer_order(), sizeof(numbers));
	comparisons = 0;
	qsort(numbers, KILLER_COUNT, sizeof(int), compare_numbers);
	check(is_sorted(numbers));
	check(comparisons > 30 * FEW);	/* or it proves nothing below */

	memcpy(numbers, killer_order(), sizeof(numbers));
	comparisons = 0;
	shuffled_qsort(numbers, KILLER_COUNT, sizeof(int), compare_numbers);
	check(is_sorted(numbers));
	check(comparisons < FEW);
}

static void
test_few(void)
{
	int			numbers[] = {2, 1};

	shuffled_qsort(numbers, 0, sizeof(int), compare_numbers);
	shuffled_qsort(numbers, 1, sizeof(int), compare_numbers);
	check(numbers[0] == 2);
	shuffled_qsort(numbers, 2, sizeof(int), compare_numbers);
	check(numbers[0] == 1 && numbers[1] == 2);
}

int
main(void)
{
	test_killer();
	test_few();
	return unit_done();
}
