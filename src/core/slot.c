/*-------------------------------------------------------------------------
 *
 * slot.c
 *	  The slot of a session, which says on which server of several it lives.
 *	  Pure.
 *
 * agno_slot() of the extension agno_router says the same in SQL: for routers, and
 * for who wants to read what is meant.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "core/slot.h"

/* Where in the text of a UUID its last 16 bits begin. */
#define SLOT_AT (UUID_TEXT_SIZE - 1 - 4)

/*
 * Write a new id, a UUID of version 7, to text, which has room for UUID_TEXT_SIZE
 * bytes. Its last 16 bits are the slot; those of ANY_SLOT are random.
 *
 * Returns false when the system has no random bytes to give.
 */
bool
new_id(char *text, int slot)
{
	if (!uuid_v7(text))
		return false;
	if (slot != ANY_SLOT)
		snprintf(text + SLOT_AT, 4 + 1, "%04x", slot & (SLOTS - 1));
	return true;
}

/*
 * Whether so many bytes of text are as new_id() writes them.
 */
static bool
is_generated(const char *text, size_t length)
{
	if (length != UUID_TEXT_SIZE - 1)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		char		c = text[i];
		bool		digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');

		if (i == 8 || i == 13 || i == 18 || i == 23 ? c != '-' : !digit)
			return false;
	}
	return text[14] == '7' && strchr("89ab", text[19]) != NULL;
}

/*
 * Whether an id, as far as it decides about the slot, is one that new_id() may have
 * written.
 */
bool
looks_generated(const char *id)
{
	return is_generated(id, strcspn(id, "/"));
}

/*
 * The slot of an id in UTF-8: the last 16 bits of one that was generated; of any
 * other the first 16 of SHA-256, the higher byte first. What stands from the first
 * slash on does not count.
 *
 * Returns -1 when the hash cannot be computed.
 */
int
id_slot(const char *id)
{
	size_t		length = strcspn(id, "/");
	uint8		hash[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *context;
	bool		done;

	if (is_generated(id, length))
	{
		char		digits[4 + 1];

		strlcpy(digits, id + SLOT_AT, sizeof(digits));
		return (int) strtol(digits, NULL, 16);
	}
	context = pg_cryptohash_create(PG_SHA256);
	done = context != NULL && pg_cryptohash_init(context) >= 0 &&
		pg_cryptohash_update(context, (const uint8 *) id, length) >= 0 &&
		pg_cryptohash_final(context, hash, sizeof(hash)) >= 0;
	pg_cryptohash_free(context);
	return done ? hash[0] << 8 | hash[1] : -1;
}
