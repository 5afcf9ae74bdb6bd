/*-------------------------------------------------------------------------
 *
 * encoding.h
 *	  Between UTF-8, which model servers speak, and the database's encoding.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_ENCODING_H
#define AGNO_ENCODING_H

extern char *encoding_to_server(const char *utf8);
extern char *encoding_from_server(const char *text);

#endif							/* AGNO_ENCODING_H */
