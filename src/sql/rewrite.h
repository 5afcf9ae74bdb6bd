/*-------------------------------------------------------------------------
 *
 * rewrite.h
 *	  Tables that are written anew as a whole.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_REWRITE_H
#define AGNO_REWRITE_H

#include "catalog/objectaccess.h"

extern void rewrite_relation_created(Oid relation, void *arg);
extern int	rewrite_begin_copy(const char *table);
extern void rewrite_end_copy(const char *table, int fillfactor);

#endif							/* AGNO_REWRITE_H */
