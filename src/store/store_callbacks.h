/*-------------------------------------------------------------------------
 *
 * store_callbacks.h
 *	  The tables of agno_bg: runs whose on_complete is to be called.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_STORE_CALLBACKS_H
#define AGNO_STORE_CALLBACKS_H

#include "store/store.h"

/* A run that is to be called back. Strings are of the database's encoding. */
typedef struct CallbackWork
{
	char	   *run_id;
	char	   *function;		/* its signature */
	int			shard;			/* of its session */
	int			tries;			/* that came to nothing */
	Datum		run;			/* the row of agno.runs, with its last status */
	bool		gone;			/* there is no such run */
	int			size;			/* of the run, about, in bytes */
	const char *error;			/* of the function, a JSON object, or NULL */
} CallbackWork;

/* for tool workers */
extern List *store_take_callbacks(Oid role, int limit);
extern List *store_end_called_back(List *batch, Oid role);
extern void store_callbacks_done(List *batch, Oid role);

/* How long a callback that could not be made is left alone at first, in ms. */
#define STORE_PUT_OFF_MS 200

extern int	store_put_off_callbacks(List *batch, bool counts);

/* for backends */
extern bool store_requeue_callback(const char *run_id);

#endif							/* AGNO_STORE_CALLBACKS_H */
