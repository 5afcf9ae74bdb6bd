/*
 * libFuzzer's entry point, and an allocator that forgets everything after each
 * input, as a memory context does in the server. It takes the place of the one
 * in PostgreSQL's libpgcommon.
 */
#include "core/portable.h"

#include "common/fe_memutils.h"
#include "fuzz.h"

/* In front of each piece of memory; 16 bytes, for the alignment's sake. */
typedef struct Piece
{
	struct Piece *next;
	struct Piece **link;		/* where the pointer to this is */
} Piece;

static Piece *pieces;

static void
link_piece(Piece *piece)
{
	piece->next = pieces;
	piece->link = &pieces;
	if (pieces != NULL)
		pieces->link = &piece->next;
	pieces = piece;
}

static void
unlink_piece(Piece *piece)
{
	*piece->link = piece->next;
	if (piece->next != NULL)
		piece->next->link = piece->link;
}

void *
palloc(Size size)
{
	Piece	   *piece = malloc(sizeof(Piece) + size);

	if (piece == NULL)
		abort();
	link_piece(piece);
	return piece + 1;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
palloc_extended(Size size, int flags)
{
	return (flags & MCXT_ALLOC_ZERO) != 0 ? palloc0(size) : palloc(size);
}

void
pfree(void *pointer)
{
	Piece	   *piece = (Piece *) pointer - 1;

	unlink_piece(piece);
	free(piece);
}

void *
repalloc(void *pointer, Size size)
{
	Piece	   *piece = (Piece *) pointer - 1;

	unlink_piece(piece);
	piece = realloc(piece, sizeof(Piece) + size);
	if (piece == NULL)
		abort();
	link_piece(piece);
	return piece + 1;
}

char *
pstrdup(const char *text)
{
	return pnstrdup(text, strlen(text));
}

char *
pnstrdup(const char *text, Size length)
{
	char	   *copy;

	length = strnlen(text, length);
	copy = palloc(length + 1);
	memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

void *
pg_malloc(size_t size)
{
	return palloc(size);
}

void *
pg_malloc0(size_t size)
{
	return palloc0(size);
}

void *
pg_malloc_extended(size_t size, int flags)
{
	return palloc_extended(size, flags);
}

void *
pg_realloc(void *pointer, size_t size)
{
	return pointer != NULL ? repalloc(pointer, size) : palloc(size);
}

char *
pg_strdup(const char *text)
{
	return pstrdup(text);
}

void
pg_free(void *pointer)
{
	if (pointer != NULL)
		pfree(pointer);
}

char *
fuzz_text(const char *bytes, size_t length)
{
	char	   *text = palloc(length + 1);

	memcpy(text, bytes, length);
	text[length] = '\0';
	return text;
}

int			LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	fuzz_one((const char *) bytes, length);
	while (pieces != NULL)
		pfree(pieces + 1);
	return 0;
}
