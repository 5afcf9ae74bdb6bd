/*-------------------------------------------------------------------------
 *
 * error_kinds.c
 *	  What an error tells of the system, and not of what was being done.
 *
 * Reads errors, and draws no conclusion: what follows from one that a turn has failed
 * with is for faults.c to say.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "runner/error_kinds.h"

/*
 * Whether this is what an error says, or how that begins, in the language of its source:
 * an SQLSTATE may be that of many.
 */
bool
error_says(const ErrorData *error, const char *message)
{
	return error->message_id != NULL &&
		strncmp(error->message_id, message, strlen(message)) == 0;
}

/*
 * Whether PostgreSQL gives nobody a transaction id, or a multixact, until old ones have been
 * vacuumed: it says so with the SQLSTATE of any limit (GetNewTransactionId, GetNewMultiXactId).
 */
static bool
lacks_ids(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
		error_says(error, "database is not accepting commands");
}

/*
 * Whether files cannot be written for a reason that errcode_for_file_access() takes for an
 * internal error, or a missing privilege: a quota, say. A turn begins without an error
 * number.
 */
static bool
lacks_disk(const ErrorData *error)
{
	return (error->sqlerrcode == ERRCODE_INTERNAL_ERROR ||
			error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE) &&
		(error->saved_errno == EDQUOT || error->saved_errno == EROFS ||
		 error->saved_errno == ESTALE);
}

/*
 * Whether an error says nothing about the run that was being stored: the
 * system lacks something, somebody stops it, or holds a lock.
 */
bool
error_is_passing(const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_OPERATOR_INTERVENTION ||
		category == ERRCODE_SYSTEM_ERROR ||
		category == ERRCODE_TRANSACTION_ROLLBACK ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		lacks_ids(error) || lacks_disk(error);
}

/*
 * Whether this process lacks memory: what all share, such as the table of locks, may be
 * used up by anybody, and is said to be with the same SQLSTATE.
 */
bool
error_lacks_memory(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_OUT_OF_MEMORY &&
		!error_says(error, "out of shared memory");
}
