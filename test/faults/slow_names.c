/*
 * For LD_PRELOAD: a name server that does not answer. Names that end in
 * .slow.invalid are looked up for twenty seconds, and then not found.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#define SLOW ".slow.invalid"

int
getaddrinfo(const char *node, const char *service,
			const struct addrinfo *hints, struct addrinfo **result)
{
	static int	(*next) (const char *, const char *, const struct addrinfo *,
						 struct addrinfo **);
	size_t		length = node != NULL ? strlen(node) : 0;

	if (length > strlen(SLOW) &&
		strcmp(node + length - strlen(SLOW), SLOW) == 0)
	{
		sleep(20);
		return EAI_AGAIN;
	}
	if (next == NULL)
		next = (int (*) (const char *, const char *, const struct addrinfo *,
						 struct addrinfo **)) dlsym(RTLD_NEXT, "getaddrinfo");
	return next(node, service, hints, result);
}
