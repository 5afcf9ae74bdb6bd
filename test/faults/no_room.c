/*
 * For LD_PRELOAD: a full file system under pg_stat_tmp. There is no room for the
 * files of agno_bg; were a hole in one of them touched, the process would die.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static int
is_ours(int fd)
{
	char		link[64];
	char		path[1024];
	ssize_t		length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return 0;
	path[length] = '\0';
	return strstr(path, "pg_stat_tmp/agno_bg_") != NULL;
}

int
posix_fallocate(int fd, off_t offset, off_t length)
{
	static int	(*next) (int, off_t, off_t);

	if (is_ours(fd))
		return ENOSPC;
	if (next == NULL)
		next = (int (*) (int, off_t, off_t)) dlsym(RTLD_NEXT, "posix_fallocate");
	return next(fd, offset, length);
}

/* A page of a hole that cannot be filled. */
void *
mmap(void *address, size_t length, int protection, int flags, int fd,
	 off_t offset)
{
	static void *(*next) (void *, size_t, int, int, int, off_t);

	if (next == NULL)
		next = (void *(*) (void *, size_t, int, int, int, off_t))
			dlsym(RTLD_NEXT, "mmap");
	if (fd >= 0 && is_ours(fd))
		protection = PROT_NONE;
	return next(address, length, protection, flags, fd, offset);
}
