/*-------------------------------------------------------------------------
 *
 * apart.h
 *	  Work of a runner beside its turns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_APART_H
#define AGNO_APART_H

extern bool apart_do(const char *activity, void (*work) (void *), void *arg,
					 bool *failed);

#endif							/* AGNO_APART_H */
