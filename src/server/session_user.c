/*-------------------------------------------------------------------------
 *
 * session_user.c
 *	  Whose rights a background worker has.
 *
 * The owner of a database may give it any settings, session_authorization and role
 * among them: they are applied to workers as well.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "server/session_user.h"
#include "utils/guc.h"

/*
 * Be the user that the process was connected as, outside of a transaction, and for
 * good: nothing resets it to another.
 */
void
session_user_pin(Oid user)
{
	StartTransactionCommand();
	SetConfigOption("session_authorization", GetUserNameFromId(user, false),
					PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("role", "none", PGC_SUSET, PGC_S_OVERRIDE);
	CommitTransactionCommand();
}
