/*-------------------------------------------------------------------------
 *
 * unit.h
 *	  Checks for the unit tests, in TAP.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_UNIT_H
#define AGNO_UNIT_H

#include <stdio.h>

static int	unit_count;
static int	unit_failed;

static inline void
unit_report(bool ok, const char *name, int line)
{
	printf("%sok %d - line %d: %s\n", ok ? "" : "not ", ++unit_count, line,
		   name);
	if (!ok)
		unit_failed++;
}

static inline void
unit_same(const char *got, const char *expected, const char *name, int line)
{
	bool		ok = (got == NULL || expected == NULL) ?
		got == expected : strcmp(got, expected) == 0;

	unit_report(ok, name, line);
	if (!ok)
		printf("#      got: %s\n# expected: %s\n", got ? got : "(null)",
			   expected ? expected : "(null)");
}

/* The condition holds. */
#define check(condition) unit_report((condition), #condition, __LINE__)

/* The text is as expected; NULL is like no text but NULL. */
#define check_text(got, expected) unit_same((got), (expected), #got, __LINE__)

static inline int
unit_done(void)
{
	printf("1..%d\n", unit_count);
	return unit_failed > 0;
}

#endif							/* AGNO_UNIT_H */
