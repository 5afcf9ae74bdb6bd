/*-------------------------------------------------------------------------
 *
 * python.h
 *	  Values as Python prints them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PYTHON_H
#define AGNO_PYTHON_H

#include "lib/stringinfo.h"

extern void python_append_repr(StringInfo out, const char *json,
							   size_t length);
extern void python_append_str(StringInfo out, const char *json,
							  size_t length);
extern char *python_strip(const char *string);

#endif							/* AGNO_PYTHON_H */
