/*-------------------------------------------------------------------------
 *
 * encoding.c
 *	  Between UTF-8, which model servers speak, and the database's encoding.
 *
 * Never fails on account of the text: what the database cannot represent
 * becomes a question mark, and what is no UTF-8 becomes U+FFFD.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "core/json.h"
#include "mb/pg_wchar.h"
#include "server/encoding.h"

/*
 * Valid UTF-8 as text of the database's encoding, in palloc'd memory.
 */
char *
encoding_to_server(const char *utf8)
{
	int			encoding = GetDatabaseEncoding();
	int			left = (int) strlen(utf8);
	StringInfoData out;
	Oid			conversion;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return pstrdup(utf8);
	conversion = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(conversion))
		return pg_any_to_server(utf8, left, PG_UTF8);

	initStringInfo(&out);
	while (left > 0)
	{
		char		piece[4096];
		int			done;

		done = pg_do_encoding_conversion_buf(conversion, PG_UTF8, encoding,
											 (unsigned char *) utf8,
											 Min(left, (int) sizeof(piece) /
												 MAX_CONVERSION_GROWTH - 1),
											 (unsigned char *) piece,
											 sizeof(piece), true);
		appendStringInfoString(&out, piece);
		utf8 += done;
		left -= done;
		if (left > 0 && done == 0)
		{
			int			size = pg_utf_mblen((const unsigned char *) utf8);

			appendStringInfoChar(&out, '?');
			utf8 += Min(size, left);
			left -= Min(size, left);
		}
	}
	return out.data;
}

/*
 * Text of the database's encoding as valid UTF-8; may return its argument.
 * Outside of a transaction, where the texts of errors come from, there are no
 * conversions: what is not ASCII becomes a question mark.
 */
char *
encoding_from_server(const char *text)
{
	int			length = (int) strlen(text);

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return text_scrub(text, length);
	if (GetDatabaseEncoding() != PG_UTF8 && !IsTransactionState())
	{
		char	   *ascii = pstrdup(text);

		for (char *at = ascii; *at != '\0'; at++)
		{
			if ((*at & 0x80) != 0)
				*at = '?';
		}
		return ascii;
	}
	return pg_server_to_any(text, length, PG_UTF8);
}
