/*-------------------------------------------------------------------------
 *
 * uuid.c
 *	  UUIDs of version 7 as text.
 *
 * Pure. PostgreSQL has uuidv7() since version 18; this serves the older ones.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <time.h>

#include "core/uuid.h"

/* How many random bytes are asked for at once: each time costs some calls. */
#define POOL_SIZE 1024

/*
 * The next 8 random bytes. False when the system has none to give.
 */
static bool
next_random(uint8 *bytes)
{
	static uint8 pool[POOL_SIZE];
	static int	left = 0;

	if (left < 8)
	{
		if (!pg_strong_random(pool, POOL_SIZE))
			return false;
		left = POOL_SIZE;
	}
	left -= 8;
	memcpy(bytes, pool + left, 8);
	return true;
}

/*
 * Write a new UUID of version 7 (RFC 9562, section 5.7) to text, which has
 * room for UUID_TEXT_SIZE bytes. Its 12 bits after the milliseconds carry the
 * fraction of the millisecond, so that ids of one process sort by time.
 *
 * Returns false when the system has no random bytes to give.
 */
bool
uuid_v7(char *text)
{
	static const char hex[] = "0123456789abcdef";
	struct timespec now;
	uint64		millis;
	uint32		fraction;
	uint8		id[16];
	char	   *out = text;

	clock_gettime(CLOCK_REALTIME, &now);
	millis = (uint64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
	fraction = (uint32) ((now.tv_nsec % 1000000) * UINT64CONST(4096) / 1000000);

	if (!next_random(id + 8))
		return false;

	for (int i = 0; i < 6; i++)
		id[i] = (uint8) (millis >> (40 - 8 * i));
	id[6] = 0x70 | (fraction >> 8);
	id[7] = fraction & 0xff;
	id[8] = (id[8] & 0x3f) | 0x80;

	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = hex[id[i] >> 4];
		*out++ = hex[id[i] & 0x0f];
	}
	*out = '\0';
	return true;
}
