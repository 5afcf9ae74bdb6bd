/*
 * For LD_PRELOAD: a disk that takes fifty milliseconds to have what is written. Nothing is
 * really flushed.
 */
#include <unistd.h>

int
fdatasync(int fd)
{
	usleep(50000);
	return 0;
}
