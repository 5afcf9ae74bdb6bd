/*
 * For shared_preload_libraries: the queue of notifications is full, for runners,
 * as long as there is a file of this name in the data directory. (To fill it, one
 * would have to write 8 GB before PostgreSQL 17.)
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "postmaster/bgworker.h"

#define FLAG "notify_queue_is_full"

PG_MODULE_MAGIC;

void		_PG_init(void);

static void
fail(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_PRE_COMMIT && MyBgworkerEntry != NULL &&
		strcmp(MyBgworkerEntry->bgw_type, "agno_bg runner") == 0 &&
		access(FLAG, F_OK) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many notifications in the NOTIFY queue")));
}

void
_PG_init(void)
{
	RegisterXactCallback(fail, NULL);
}
