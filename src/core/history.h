/*-------------------------------------------------------------------------
 *
 * history.h
 *	  What earlier runs have said, as a model may be told of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_HISTORY_H
#define AGNO_HISTORY_H

#include "core/message.h"

extern int	history_select(Message *messages, int count, int max_results);

#endif							/* AGNO_HISTORY_H */
