/*-------------------------------------------------------------------------
 *
 * session_user.h
 *	  Whose rights a background worker has.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SESSION_USER_H
#define AGNO_SESSION_USER_H

extern void session_user_pin(Oid user);

#endif							/* AGNO_SESSION_USER_H */
