/*-------------------------------------------------------------------------
 *
 * error_kinds.h
 *	  What an error tells of the system, and not of what was being done.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_ERROR_KINDS_H
#define AGNO_ERROR_KINDS_H

extern bool error_says(const ErrorData *error, const char *message);
extern bool error_is_passing(const ErrorData *error);
extern bool error_lacks_memory(const ErrorData *error);

#endif							/* AGNO_ERROR_KINDS_H */
