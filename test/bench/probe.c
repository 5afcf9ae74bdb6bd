/*-------------------------------------------------------------------------
 *
 * probe.c
 *	  How long things take between a client, agno_bg and a model server.
 *
 * The client and the model server are one process, with one clock: the server
 * is a thread that answers the model "now" at once, and no other. Usage:
 * probe PORT MEASUREMENT, with libpq's environment; there must be a foreign
 * server "probe" for the port. Prints medians and 99th percentiles in ms.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <libpq-fe.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FDS 20000

/* Of the request that came last, and of the connection that broke last. */
static _Atomic double arrived_at;
static _Atomic double closed_at;
static atomic_int held;			/* requests that are not answered */

static int	listener;
static int	holds[MAX_FDS];		/* whether the connection has such a request */

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "probe: %s: %s\n", what, why);
	exit(1);
}

/*-------------------------------------------------------------------------
 * The model server
 *-------------------------------------------------------------------------
 */

static const char answer[] =
"{\"id\":\"r\",\"object\":\"response\",\"status\":\"completed\",\"output\":["
"{\"type\":\"message\",\"role\":\"assistant\",\"content\":["
"{\"type\":\"output_text\",\"text\":\"Paris\"}]}],"
"\"usage\":{\"input_tokens\":1,\"output_tokens\":1,\"total_tokens\":2}}";

/* Requests are small, and come in one piece. */
static void
serve(int epoll, int fd)
{
	char		request[8192];
	char		reply[1024];
	ssize_t		length = read(fd, request, sizeof(request) - 1);

	if (length <= 0)
	{
		closed_at = now();
		if (holds[fd])
			atomic_fetch_sub(&held, 1);
		holds[fd] = 0;
		close(fd);
		return;
	}
	arrived_at = now();
	request[length] = '\0';
	if (strstr(request, "\"model\":\"now\"") == NULL)
	{
		holds[fd] = 1;
		atomic_fetch_add(&held, 1);
		return;
	}
	length = snprintf(reply, sizeof(reply),
					  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
					  "Content-Length: %zu\r\n\r\n%s", strlen(answer), answer);
	if (write(fd, reply, length) != length)
		fail("write", strerror(errno));
}

static void *
server_main(void *unused)
{
	int			epoll = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN,.data.fd = listener};

	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	for (;;)
	{
		struct epoll_event events[256];
		int			count = epoll_wait(epoll, events, 256, -1);

		for (int i = 0; i < count; i++)
		{
			if (events[i].data.fd == listener)
			{
				int			one = 1;

				event.data.fd = accept(listener, NULL, NULL);
				setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &one,
						   sizeof(one));
				epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
			}
			else
				serve(epoll, events[i].data.fd);
		}
	}
	return unused;
}

static void
start_server(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_port = htons(port)};
	int			one = 1;
	pthread_t	thread;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(listener, 4096) != 0)
		fail("listen", strerror(errno));
	pthread_create(&thread, NULL, server_main, NULL);
}

/*-------------------------------------------------------------------------
 * The client
 *-------------------------------------------------------------------------
 */

static PGconn *
connect_to_server(void)
{
	PGconn	   *connection = PQconnectdb("");

	if (PQstatus(connection) != CONNECTION_OK)
		fail("connection", PQerrorMessage(connection));
	return connection;
}

/* The first value of the first row, to be freed. */
static char *
query(PGconn *connection, const char *sql)
{
	PGresult   *result = PQexec(connection, sql);
	char	   *value;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(sql, PQerrorMessage(connection));
	value = strdup(PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return value;
}

static char *
query_about(PGconn *connection, const char *format, const char *run_id)
{
	char		sql[512];

	snprintf(sql, sizeof(sql), format, run_id);
	return query(connection, sql);
}

static int
compare(const void *a, const void *b)
{
	double		difference = *(const double *) a - *(const double *) b;

	return (difference > 0) - (difference < 0);
}

static void
report(const char *name, double *times, int count)
{
	qsort(times, count, sizeof(double), compare);
	printf("%s %.3f %.3f\n", name, times[count / 2], times[count * 99 / 100]);
}

static double
not_negative(double time)
{
	return time > 0 ? time : 0;
}

/* Commit of agno_arun to the request at the server, and to the answer. */
static void
measure_start(PGconn *connection, int count)
{
	double	   *to_server = malloc(sizeof(double) * count);
	double	   *to_answer = malloc(sizeof(double) * count);

	for (int i = -50; i < count; i++)
	{
		double		before = now();
		char	   *id = query(connection, "SELECT run_id FROM agno_arun('x', model => 'probe:now')");
		double		committed = now();

		free(query_about(connection, "SELECT status FROM agno_wait_run('%s')", id));
		if (arrived_at < before)
			fail("request", "did not arrive");
		if (i >= 0)
		{
			to_server[i] = not_negative(arrived_at - committed);
			to_answer[i] = now() - committed;
		}
		free(id);
	}
	report("to_server", to_server, count);
	report("to_answer", to_answer, count);
}

/* One run after the other. */
static void
measure_sequence(PGconn *connection, int count)
{
	double	   *times = malloc(sizeof(double) * count);

	for (int i = -50; i < count; i++)
	{
		double		before = now();

		free(query(connection, "CALL agno_run('x', model => 'probe:now')"));
		if (i >= 0)
			times[i] = now() - before;
	}
	report("sequence", times, count);
}

static void
wait_until_held(int count)
{
	while (held < count)
		usleep(200);
}

/* Commit of agno_cancel_run to the end of the connection, and to CANCELLED. */
static void
measure_cancel(PGconn *connection, int count)
{
	double	   *to_close = malloc(sizeof(double) * count);
	double	   *to_status = malloc(sizeof(double) * count);

	for (int i = -10; i < count; i++)
	{
		int			before = held;
		char	   *id = query(connection, "SELECT run_id FROM agno_arun('x', model => 'probe:hang')");
		double		committed;

		wait_until_held(before + 1);
		free(query_about(connection, "SELECT agno_cancel_run('%s')", id));
		committed = now();
		free(query_about(connection, "SELECT status FROM agno_wait_run('%s')", id));
		if (i >= 0)
			to_status[i] = now() - committed;
		while (held > before)
			usleep(50);
		if (i >= 0)
			to_close[i] = not_negative(closed_at - committed);
		free(id);
	}
	report("to_close", to_close, count);
	report("to_status", to_status, count);
}

/*
 * Callers that wait, each for its own run, while others end: how often they
 * woke, and the CPU time that they took.
 */
static void
measure_waiters(PGconn *connection, int count)
{
	PGconn	  **waiters = malloc(sizeof(PGconn *) * count);
	char	  **ids = malloc(sizeof(char *) * count);
	char	   *before;
	char	   *after;

	for (int i = 0; i < count; i++)
	{
		char		sql[512];

		waiters[i] = connect_to_server();
		ids[i] = query(connection, "SELECT run_id FROM agno_arun('x', model => 'probe:hang')");
		snprintf(sql, sizeof(sql), "SELECT status FROM agno_wait_run('%s')", ids[i]);
		PQsendQuery(waiters[i], sql);
	}
	wait_until_held(count);
	sleep(1);

#define CONSUMED \
	"SELECT sum((string_to_array(pg_read_file('/proc/' || pid || '/stat'), ' '))[14]::int" \
	" + (string_to_array(pg_read_file('/proc/' || pid || '/stat'), ' '))[15]::int)" \
	" || ' ' || sum(substring(pg_read_file('/proc/' || pid || '/status') from 'nonvoluntary_ctxt_switches:\\s(\\d+)')::int" \
	" + substring(pg_read_file('/proc/' || pid || '/status') from 'voluntary_ctxt_switches:\\s(\\d+)')::int)" \
	" FROM pg_stat_activity WHERE query LIKE 'SELECT status FROM agno_wait_run%' AND state = 'active'"

	before = query(connection, CONSUMED);
	for (int i = 0; i < 1000; i++)
		free(query(connection, "CALL agno_run('x', model => 'probe:now')"));
	after = query(connection, CONSUMED);
	printf("waiters_before %s\nwaiters_after %s\n", before, after);

	for (int i = 0; i < count; i++)
		free(query_about(connection, "SELECT agno_cancel_run('%s')", ids[i]));
	for (int i = 0; i < count; i++)
	{
		PQclear(PQgetResult(waiters[i]));
		PQfinish(waiters[i]);
	}
}

int
main(int argc, char **argv)
{
	struct rlimit limit = {MAX_FDS, MAX_FDS};
	PGconn	   *connection;

	setrlimit(RLIMIT_NOFILE, &limit);
	start_server(atoi(argv[1]));
	connection = connect_to_server();
	if (strcmp(argv[2], "start") == 0)
		measure_start(connection, 2000);
	else if (strcmp(argv[2], "sequence") == 0)
		measure_sequence(connection, 2000);
	else if (strcmp(argv[2], "cancel") == 0)
		measure_cancel(connection, 500);
	else if (strcmp(argv[2], "waiters") == 0)
		measure_waiters(connection, 1000);
	else if (strcmp(argv[2], "busy") == 0)
	{
		/* the same, beside 1,000 requests in flight */
		free(query(connection, "SELECT count(*) FROM generate_series(1, 1000) i, agno_arun('x' || i, model => 'probe:hang')"));
		wait_until_held(1000);
		measure_start(connection, 2000);
		free(query(connection, "SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE status = 'RUNNING'"));
	}
	PQfinish(connection);
	return 0;
}
