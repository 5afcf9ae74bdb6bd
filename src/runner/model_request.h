/*-------------------------------------------------------------------------
 *
 * model_request.h
 *	  What is sent to a model server for a run in flight.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_MODEL_REQUEST_H
#define AGNO_MODEL_REQUEST_H

#include "runner/flight.h"

/* What is asked of a model server. */
typedef enum RequestKind
{
	REQUEST_CREATE,				/* the next answer */
	REQUEST_FETCH,				/* a response that it works on */
	REQUEST_CANCEL				/* to stop working on it */
} RequestKind;

extern HttpTransfer *model_request_start(HttpClient *http,
										 const Flight *flight,
										 RequestKind kind, int64 deadline,
										 void *owner);

#endif							/* AGNO_MODEL_REQUEST_H */
