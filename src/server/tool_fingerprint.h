/*-------------------------------------------------------------------------
 *
 * tool_fingerprint.h
 *	  What tells a function from one that replaces it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_FINGERPRINT_H
#define AGNO_TOOL_FINGERPRINT_H

extern char *tool_fingerprint(const char *signature, const char *bound);

#endif							/* AGNO_TOOL_FINGERPRINT_H */
