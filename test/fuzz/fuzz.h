/*
 * What the fuzz targets share: each is one file fuzz_*.c that defines
 * fuzz_one(); fuzz.c calls it, and frees what it has palloc'd.
 */
#ifndef AGNO_FUZZ_H
#define AGNO_FUZZ_H

extern void fuzz_one(const char *bytes, size_t length);

/* A copy of some of the input, terminated. */
extern char *fuzz_text(const char *bytes, size_t length);

/* What must hold for every input. */
#define require(condition) \
	do { if (!(condition)) __builtin_trap(); } while (0)

#endif							/* AGNO_FUZZ_H */
