/*
 * For LD_PRELOAD: a disk that is full while the file named by DISK_FULL is
 * there. Files of tables cannot grow then; what is on the disk can be
 * overwritten, and the WAL has a disk of its own. The file may have the number
 * of another error in it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * The number that this file has in it; if it is empty, that of a full disk.
 */
static int
number_in(const char *path)
{
	FILE	   *file = fopen(path, "r");
	int			number = ENOSPC;

	if (file != NULL)
	{
		if (fscanf(file, "%d", &number) != 1)
			number = ENOSPC;
		fclose(file);
	}
	return number;
}

/*
 * The error of a file that is to have its end there, or 0.
 */
static int
refusal(int fd, off_t end)
{
	const char *flag = getenv("DISK_FULL");
	char		link[64];
	char		path[1024];
	struct stat status;
	ssize_t		length;

	if (flag == NULL || access(flag, F_OK) != 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return 0;
	path[length] = '\0';
	if (strstr(path, "/base/") == NULL || fstat(fd, &status) != 0 ||
		end <= status.st_size)
		return 0;
	return number_in(flag);
}

ssize_t
pwrite(int fd, const void *data, size_t size, off_t offset)
{
	static ssize_t (*next) (int, const void *, size_t, off_t);
	int			error;

	if (next == NULL)
		next = (ssize_t (*) (int, const void *, size_t, off_t))
			dlsym(RTLD_NEXT, "pwrite");
	error = refusal(fd, offset + size);
	if (error != 0)
	{
		errno = error;
		return -1;
	}
	return next(fd, data, size, offset);
}

ssize_t
pwrite64(int fd, const void *data, size_t size, off_t offset)
{
	return pwrite(fd, data, size, offset);
}

ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	static ssize_t (*next) (int, const struct iovec *, int, off_t);
	off_t		end = offset;
	int			error;

	if (next == NULL)
		next = (ssize_t (*) (int, const struct iovec *, int, off_t))
			dlsym(RTLD_NEXT, "pwritev");
	for (int i = 0; i < count; i++)
		end += parts[i].iov_len;
	error = refusal(fd, end);
	if (error != 0)
	{
		errno = error;
		return -1;
	}
	return next(fd, parts, count, offset);
}

ssize_t
pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
	return pwritev(fd, parts, count, offset);
}

int
posix_fallocate(int fd, off_t offset, off_t length)
{
	static int	(*next) (int, off_t, off_t);
	int			error;

	if (next == NULL)
		next = (int (*) (int, off_t, off_t)) dlsym(RTLD_NEXT, "posix_fallocate");
	error = refusal(fd, offset + length);
	return error != 0 ? error : next(fd, offset, length);
}

int
posix_fallocate64(int fd, off_t offset, off_t length)
{
	return posix_fallocate(fd, offset, length);
}
