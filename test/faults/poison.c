/*
 * For LD_PRELOAD: makes poison of some requests. A process that hands libcurl a
 * body with the word "poison" in it crashes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CURLOPT_POSTFIELDS 10015

int
curl_easy_setopt(void *handle, int option,...)
{
	static int	(*next) (void *, int,...);
	va_list		arguments;
	void	   *value;

	va_start(arguments, option);
	value = va_arg(arguments, void *);
	va_end(arguments);
	if (next == NULL)
		next = (int (*) (void *, int,...)) dlsym(RTLD_NEXT, "curl_easy_setopt");
	if (option == CURLOPT_POSTFIELDS && strstr(value, "poison") != NULL)
		abort();
	return next(handle, option, value);
}
