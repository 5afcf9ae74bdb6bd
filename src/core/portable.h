/*-------------------------------------------------------------------------
 *
 * portable.h
 *	  What the pure modules include first.
 *
 * A pure module does no SPI, no HTTP and no catalog access. It is built into
 * the server, and once more with -DFRONTEND into the unit tests and fuzzers,
 * where palloc() is malloc(), as in PostgreSQL's src/common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PORTABLE_H
#define AGNO_PORTABLE_H

#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#endif							/* AGNO_PORTABLE_H */
