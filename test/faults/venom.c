/*
 * For LD_PRELOAD: a runner crashes that reads JSON with the word "venom" in it, once there is
 * a file of this name in the data directory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
is_runner(void)
{
	char		title[64] = "";
	int			fd = open("/proc/self/cmdline", O_RDONLY);

	(void) !read(fd, title, sizeof(title) - 1);
	close(fd);
	return strstr(title, "agno_bg runner") != NULL;
}

void *
cJSON_ParseWithLengthOpts(const char *value, size_t length, const char **end, int whole)
{
	static void *(*next) (const char *, size_t, const char **, int);

	if (next == NULL)
		next = (void *(*) (const char *, size_t, const char **, int)) dlsym(RTLD_NEXT, "cJSON_ParseWithLengthOpts");
	if (memmem(value, length, "venom", 5) != NULL && access("venom", F_OK) == 0 && is_runner())
		abort();
	return next(value, length, end, whole);
}
