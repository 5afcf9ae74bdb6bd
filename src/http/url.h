/*-------------------------------------------------------------------------
 *
 * url.h
 *	  What URLs requests can be sent to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_URL_H
#define AGNO_URL_H

extern bool url_is_valid(const char *url);

#endif							/* AGNO_URL_H */
