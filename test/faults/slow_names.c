/*
 * For LD_PRELOAD: a name server that does not answer, or late. Names that end in
 * .slow.invalid are looked up for twenty seconds, and then not found; those that end
 * in .late.invalid for one second, and are this machine's, as are those that end in
 * .quick.invalid at once. Those that end in .three.invalid have three addresses, all of
 * this machine: two of IPv6, 127.0.0.2 and 127.0.0.3, and 127.0.0.1.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
ends_in(const char *name, const char *domain)
{
	size_t		length = strlen(name);

	return length > strlen(domain) &&
		strcmp(name + length - strlen(domain), domain) == 0;
}

/* 127.0.0.last as an address of IPv6, in the way of freeaddrinfo(). */
static struct addrinfo *
mapped_address(int last, const char *service, struct addrinfo *next)
{
	struct addrinfo *info = calloc(1, sizeof(struct addrinfo) +
								   sizeof(struct sockaddr_in6));
	struct sockaddr_in6 *address = (struct sockaddr_in6 *) (info + 1);

	address->sin6_family = AF_INET6;
	address->sin6_port = htons(atoi(service));
	memcpy(&address->sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f", 13);
	address->sin6_addr.s6_addr[15] = last;
	info->ai_family = AF_INET6;
	info->ai_socktype = SOCK_STREAM;
	info->ai_protocol = IPPROTO_TCP;
	info->ai_addr = (struct sockaddr *) address;
	info->ai_addrlen = sizeof(struct sockaddr_in6);
	info->ai_next = next;
	return info;
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
	if (node != NULL && ends_in(node, ".three.invalid"))
	{
		int			failure = next("127.0.0.1", service, hints, result);

		if (failure == 0)
			*result = mapped_address(2, service,
									 mapped_address(3, service, *result));
		return failure;
	}
	return next(node, service, hints, result);
}
