/*-------------------------------------------------------------------------
 *
 * sockets.c
 *	  The sockets that libcurl has open.
 *
 * Libcurl opens, watches and closes them, and keeps those of connections that may be used
 * again; but it does not say which of them it reads from. Who has sent too much is cut off
 * here all the same: the connection of a transfer, those that it has tried to open, or all
 * that idle in a lane.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <netdb.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/http_internal.h"

/* A socket of libcurl's, by its descriptor. */
struct HttpSocket
{
	Lane	   *lane;			/* whose connection it is; NULL: it is not
								 * open */
	const HttpTransfer *opener; /* that has opened it; only to be compared */
	ino_t		inode;			/* what it was then: libcurl closes those that
								 * it has only tried without telling */
	bool		idle;			/* libcurl waits for nothing that arrives */
};

/*
 * Whether there is a place for this descriptor.
 */
static bool
has_place(HttpClient *client, int fd)
{
	int			larger = Max(client->socket_size * 2, fd + 1);
	HttpSocket *sockets;

	if (fd < client->socket_size)
		return true;
	sockets = realloc(client->sockets, sizeof(HttpSocket) * larger);
	if (sockets == NULL)
		return false;
	memset(sockets + client->socket_size, 0,
		   sizeof(HttpSocket) * (larger - client->socket_size));
	client->sockets = sockets;
	client->socket_size = larger;
	return true;
}

/*
 * The socket with this descriptor, or NULL: it may be closed, and another file have its
 * descriptor.
 */
static const HttpSocket *
find(const HttpClient *client, int fd)
{
	const HttpSocket *found = client->sockets + fd;
	struct stat now;

	if (fd >= client->socket_size || found->lane == NULL ||
		fstat(fd, &now) != 0 || now.st_ino != found->inode)
		return NULL;
	return found;
}

/*
 * A socket for this transfer, which is in a lane: -1, and errno, if there is none. At a
 * time, libcurl tries one address of each family.
 */
int
socket_open(HttpTransfer *transfer, int family, int type, int protocol)
{
	HttpClient *client = transfer->client;
	int			fd = socket(family, type | SOCK_CLOEXEC, protocol);
	struct stat now;

	if (fd < 0)
		return -1;
	if (!has_place(client, fd) || fstat(fd, &now) != 0)
	{
		close(fd);
		errno = ENOMEM;
		return -1;
	}
	client->sockets[fd].lane = transfer->lane;
	client->sockets[fd].opener = transfer;
	client->sockets[fd].inode = now.st_ino;
	client->sockets[fd].idle = false;
	transfer->opened[family == AF_INET6] = fd;
	return fd;
}

/* libcurl's close(). */
int
socket_close_callback(void *client_arg, curl_socket_t fd)
{
	HttpClient *client = client_arg;

	memset(&client->sockets[fd], 0, sizeof(HttpSocket));
	return close(fd);
}

/*
 * Whether this one of the sockets that a transfer has opened is still its own.
 */
bool
socket_is_trying(const HttpTransfer *transfer, int number)
{
	const HttpSocket *found = find(transfer->client, transfer->opened[number]);

	return found != NULL && found->opener == transfer;
}

/*
 * Libcurl waits for what arrives by this socket, or does not.
 */
void
socket_set_idle(HttpClient *client, int fd, bool idle)
{
	if (fd < client->socket_size)
		client->sockets[fd].idle = idle;
}

/*
 * Nothing arrives by this socket any more, not even what is there: where a socket cannot
 * be disconnected, that is read to its end.
 */
static void
cut(int fd)
{
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

	if (connect(fd, &nowhere, sizeof(nowhere)) != 0)
		(void) shutdown(fd, SHUT_RDWR);
}

/*
 * Cut the sockets that idle in this lane, and have more than so many bytes to be read;
 * -1: all of them, whether there is something at this moment or not.
 */
void
sockets_cut_idle(Lane *lane, int bytes)
{
	HttpClient *client = lane->client;

	for (int fd = 0; fd < client->socket_size; fd++)
	{
		const HttpSocket *socket = &client->sockets[fd];
		int			unread;
		int			error;
		socklen_t	length = sizeof(error);

		if (socket->lane == lane && socket->idle &&
			ioctl(fd, FIONREAD, &unread) == 0 && unread > bytes &&
			find(client, fd) != NULL)
		{
			cut(fd);
			lane->has_cut = true;

			/*
			 * Libcurl takes for closed what is at its end, not what has
			 * failed.
			 */
			(void) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
			(void) shutdown(fd, SHUT_RDWR);
		}
	}
}

/*
 * Whether this end of a socket has this address, as text, and this port.
 */
static bool
is_at(int fd, bool peer, const char *ip, int port)
{
	struct sockaddr_storage address = {0};
	socklen_t	length = sizeof(address);
	char		its_ip[INET6_ADDRSTRLEN];
	char		its_port[8];

	if ((peer ? getpeername(fd, (struct sockaddr *) &address, &length) :
		 getsockname(fd, (struct sockaddr *) &address, &length)) != 0 ||
		getnameinfo((struct sockaddr *) &address, length, its_ip,
					sizeof(its_ip), its_port, sizeof(its_port),
					NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return false;
	its_ip[strcspn(its_ip, "%")] = '\0';	/* libcurl names no interface */
	return atoi(its_port) == port && strcmp(its_ip, ip) == 0;
}

/*
 * Break the connection of this transfer. Libcurl does not say which socket that is, as
 * long as the transfer is under way: it is that with the same ends.
 */
void
sockets_break(const HttpTransfer *transfer)
{
	const HttpClient *client = transfer->client;

	if (transfer->lane != NULL)
		transfer->lane->has_cut = true;
	for (int i = 0; !transfer->sent && i < (int) lengthof(transfer->opened); i++)
	{
		if (socket_is_trying(transfer, i))
			cut(transfer->opened[i]);
	}
	for (int fd = 0; transfer->sent && fd < client->socket_size; fd++)
	{
		if (client->sockets[fd].lane == transfer->lane &&
			find(client, fd) != NULL &&
			is_at(fd, false, transfer->local_ip, transfer->local_port) &&
			is_at(fd, true, transfer->remote_ip, transfer->remote_port))
			cut(fd);
	}
}
