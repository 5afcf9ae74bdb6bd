/*
 * A function in SQL that never checks for interrupts: endless(path) returns when
 * there is a file of that name.
 */
#include "postgres.h"

#include <unistd.h>

#include "fmgr.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(endless);

Datum
endless(PG_FUNCTION_ARGS)
{
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(0));

	while (access(path, F_OK) != 0)
		usleep(10000);
	PG_RETURN_TEXT_P(cstring_to_text("ended"));
}
