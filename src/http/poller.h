/*-------------------------------------------------------------------------
 *
 * poller.h
 *	  A descriptor that is readable while any of its descriptors is ready.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_POLLER_H
#define AGNO_POLLER_H

/* What to wait for, and what has happened. */
#define POLLER_READ		1
#define POLLER_WRITE	2

typedef struct PollerEvent
{
	int			fd;
	int			tag;			/* as given to poller_watch() */
	int			events;			/* POLLER_READ, POLLER_WRITE or both */
} PollerEvent;

extern int	poller_create(void);
extern void poller_watch(int poller, int fd, int tag, int events, bool known);
extern void poller_forget(int poller, int fd);
extern int	poller_collect(int poller, PollerEvent *events, int max);

#endif							/* AGNO_POLLER_H */
