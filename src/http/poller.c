/*-------------------------------------------------------------------------
 *
 * poller.c
 *	  A descriptor that is readable while any of its descriptors is ready.
 *
 * A WaitEventSet cannot let go of a descriptor, so the sockets of libcurl live
 * in an epoll (Linux) or kqueue (BSD, macOS) descriptor of their own, which is
 * put into the WaitEventSet once. PostgreSQL's libpq-oauth does the same.
 *
 * Nothing in here raises an error, since libcurl's callbacks use it. A descriptor that cannot be watched makes no progress, and its
 * transfer ends by its timeout.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#else
#include <sys/types.h>
#include <sys/event.h>
#include <sys/time.h>
#endif

#include "http/poller.h"

/* How many events one system call fetches. */
#define POLLER_BATCH 256

#ifdef __linux__

/*
 * Create one. Returns -1, with errno, when the system refuses.
 */
int
poller_create(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

/*
 * Wait for these events of fd, and for no others; known tells whether it is
 * being watched already.
 */
void
poller_watch(int poller, int fd, int tag, int events, bool known)
{
	struct epoll_event event = {0};

	if (events & POLLER_READ)
		event.events |= EPOLLIN;
	if (events & POLLER_WRITE)
		event.events |= EPOLLOUT;
	event.data.u64 = ((uint64) tag << 32) | (uint32) fd;
	(void) epoll_ctl(poller, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
}

/*
 * Stop watching fd.
 */
void
poller_forget(int poller, int fd)
{
	struct epoll_event unused = {0};

	(void) epoll_ctl(poller, EPOLL_CTL_DEL, fd, &unused);
}

/*
 * Fetch up to max events that have happened, without waiting. Returns how
 * many there are.
 */
int
poller_collect(int poller, PollerEvent *events, int max)
{
	struct epoll_event ready[POLLER_BATCH];
	int			count;

	count = epoll_wait(poller, ready, Min(max, POLLER_BATCH), 0);
	for (int i = 0; i < count; i++)
	{
		events[i].fd = (int) (ready[i].data.u64 & 0xffffffff);
		events[i].tag = (int) (ready[i].data.u64 >> 32);
		events[i].events = 0;
		if (ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			events[i].events |= POLLER_READ;
		if (ready[i].events & EPOLLOUT)
			events[i].events |= POLLER_WRITE;
	}
	return Max(count, 0);
}

#else							/* kqueue */

int
poller_create(void)
{
	int			poller = kqueue();

	if (poller >= 0)
		(void) fcntl(poller, F_SETFD, FD_CLOEXEC);
	return poller;
}

void
poller_watch(int poller, int fd, int tag, int events, bool known)
{
	struct kevent changes[2];
	struct kevent receipts[2];
	struct timespec no_wait = {0};

	/* EV_RECEIPT: a filter that is not there to delete is no failure. */
	EV_SET(&changes[0], fd, EVFILT_READ,
		   EV_RECEIPT | ((events & POLLER_READ) ? EV_ADD : EV_DELETE),
		   0, 0, (void *) (intptr_t) tag);
	EV_SET(&changes[1], fd, EVFILT_WRITE,
		   EV_RECEIPT | ((events & POLLER_WRITE) ? EV_ADD : EV_DELETE),
		   0, 0, (void *) (intptr_t) tag);
	(void) kevent(poller, changes, 2, receipts, 2, &no_wait);
}

void
poller_forget(int poller, int fd)
{
	poller_watch(poller, fd, 0, 0, true);
}

int
poller_collect(int poller, PollerEvent *events, int max)
{
	struct kevent ready[POLLER_BATCH];
	struct timespec no_wait = {0};
	int			count;

	count = kevent(poller, NULL, 0, ready, Min(max, POLLER_BATCH), &no_wait);
	for (int i = 0; i < count; i++)
	{
		events[i].fd = (int) ready[i].ident;
		events[i].tag = (int) (intptr_t) ready[i].udata;
		events[i].events =
			ready[i].filter == EVFILT_WRITE ? POLLER_WRITE : POLLER_READ;
	}
	return Max(count, 0);
}

#endif
