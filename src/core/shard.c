/*-------------------------------------------------------------------------
 *
 * shard.c
 *	  Which runner a session belongs to. Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/shard.h"

/*
 * The shard of a session, from 0 to 32767: the FNV-1a hash of its id. It is
 * kept in tables, so it must never change.
 */
int
shard_of_session(const char *session_id)
{
	uint32		hash = 2166136261u;

	for (; *session_id != '\0'; session_id++)
		hash = (hash ^ (unsigned char) *session_id) * 16777619u;
	return (int) ((hash >> 16 ^ hash) & 0x7fff);
}

/*
 * The number of the runner, of so many, that executes the runs of a shard.
 */
int
shard_runner(int shard, int runners)
{
	return shard % runners;
}
