/*
 * For LD_PRELOAD: the clock on the wall is set back by two hours while the file named
 * by CLOCK_SET_BACK is there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

int
gettimeofday(struct timeval *now, void *zone)
{
	static int	(*next) (struct timeval *, void *);
	const char *flag = getenv("CLOCK_SET_BACK");
	int			result;

	if (next == NULL)
		next = (int (*) (struct timeval *, void *)) dlsym(RTLD_NEXT, "gettimeofday");
	result = next(now, zone);
	if (flag != NULL && access(flag, F_OK) == 0)
		now->tv_sec -= 2 * 60 * 60;
	return result;
}
