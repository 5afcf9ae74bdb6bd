/*-------------------------------------------------------------------------
 *
 * load_table.h
 *	  The loads of model servers that the runners of a database share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_LOAD_TABLE_H
#define AGNO_LOAD_TABLE_H

#include "runner/doubts.h"
#include "server/settings.h"

/*
 * What a server, or a key to it, has had to do, by all runners of the database.
 * Guarded by the lock of its table. Times are those of clock_now().
 */
typedef struct Load
{
	int			in_flight[MAX_RUNNERS_PER_DATABASE];	/* runs that each runner
														 * has started, or is
														 * about to */
	uint32		waiting;		/* runners with parked runs: a bit each */
	int64		next_request;	/* when the next run may start, as far as
								 * requests_per_minute goes */
	double		tokens;			/* used and not yet forgotten */
	int64		tokens_at;		/* when tokens was true */
	int64		blocked_until;	/* the server has asked to be left alone */
	KeyDoubt	doubt;			/* what it has told somebody with that key */
} Load;

/* The longest name of a load, in bytes, with its NUL. */
#define LOAD_NAME_SIZE (NAMEDATALEN + 16)

/* Where the loads are that several runners share. */
typedef struct LoadTable
{
	/*
	 * The load of this name in this database, for the runner with this
	 * number; NULL: there is no room.
	 */
	Load	   *(*find) (const char *name, int runner);

	/* The runner does not need it any more. While the table is locked. */
	void		(*release) (Load *load, int runner);
	void		(*lock) (void);
	void		(*unlock) (void);
} LoadTable;

/* For pace_table_create(), where there are several runners. */
extern const LoadTable shared_loads;

extern void load_table_request_memory(void);
extern void load_table_startup(void);
extern void load_table_forget_runner(int number);

#endif							/* AGNO_LOAD_TABLE_H */
