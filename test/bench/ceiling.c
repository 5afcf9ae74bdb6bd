/*-------------------------------------------------------------------------
 *
 * ceiling.c
 *	  How many requests a bare loop of libcurl's multi interface makes.
 *
 * What agno_bg's rates are compared with: the same requests to the same
 * server, with nothing around them. Usage: ceiling URL REQUESTS CONCURRENCY;
 * prints requests per second.
 *
 *-------------------------------------------------------------------------
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define BODY "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":\"Hello 12345\"}]}"

static CURLM *multi;
static int	epoll;
static int	timeout_ms = -1;

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static size_t
swallow(char *bytes, size_t size, size_t count, void *data)
{
	return size * count;
}

/* Keep the epoll descriptor as libcurl wants it. */
static int
watch(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
	struct epoll_event event = {.data.fd = fd};

	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) |
		(what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
		epoll_ctl(epoll, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
	curl_multi_assign(multi, fd, &multi);
	return 0;
}

static int
set_timer(CURLM *its_multi, long ms, void *data)
{
	timeout_ms = (int) ms;
	return 0;
}

int
main(int argc, char **argv)
{
	int			requests = atoi(argv[2]);
	int			concurrency = atoi(argv[3]);
	int			started = 0;
	int			done = 0;
	int			running;
	struct curl_slist *headers;
	double		start;

	curl_global_init(CURL_GLOBAL_ALL);
	multi = curl_multi_init();
	epoll = epoll_create1(0);
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) concurrency);
	headers = curl_slist_append(NULL, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Authorization: Bearer none");

	start = now();
	for (; started < concurrency && started < requests; started++)
	{
		CURL	   *easy = curl_easy_init();

		curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, BODY);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, swallow);
		curl_multi_add_handle(multi, easy);
	}
	while (done < requests)
	{
		struct epoll_event events[256];
		int			count = epoll_wait(epoll, events, 256, timeout_ms);
		CURLMsg    *message;
		int			left;

		if (count == 0)
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		for (int i = 0; i < count; i++)
			curl_multi_socket_action(multi, events[i].data.fd,
									 (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
									 (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
									 (events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0),
									 &running);
		while ((message = curl_multi_info_read(multi, &left)) != NULL)
		{
			CURL	   *easy = message->easy_handle;

			if (message->data.result != CURLE_OK)
			{
				fprintf(stderr, "%s\n", curl_easy_strerror(message->data.result));
				return 1;
			}
			done++;
			curl_multi_remove_handle(multi, easy);
			if (started < requests)
			{
				started++;
				curl_multi_add_handle(multi, easy);
			}
			else
				curl_easy_cleanup(easy);
		}
	}
	printf("%.0f\n", requests / (now() - start));
	return 0;
}
