/*
 * For LD_PRELOAD: a name server that does not answer, or late. Names that end in
 * .slow.invalid are looked up for twenty seconds, and then not found; those that end
 * in .late.invalid for one second, and are this machine's, as are those that end in
 * .quick.invalid at once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

static int
ends_in(const char *name, const char *domain)
{
	size_t		length = strlen(name);

	return length > strlen(domain) &&
		strcmp(name + length - strlen(domain), domain) == 0;
}

int
getaddrinfo(const char *node, const char *service,
			const struct addrinfo *hints, struct addrinfo **result)
{
	static int	(*next) (const char *, const char *, const struct addrinfo *,
						 struct addrinfo **);

	if (node != NULL && ends_in(node, ".slow.invalid"))
	{
		sleep(20);
		return EAI_AGAIN;
	}
	if (node != NULL && ends_in(node, ".late.invalid"))
	{
		sleep(1);
		node = "127.0.0.1";
	}
	if (node != NULL && ends_in(node, ".quick.invalid"))
		node = "127.0.0.1";
	if (next == NULL)
		next = (int (*) (const char *, const char *, const struct addrinfo *,
						 struct addrinfo **)) dlsym(RTLD_NEXT, "getaddrinfo");
	return next(node, service, hints, result);
}
