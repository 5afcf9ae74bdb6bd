/*-------------------------------------------------------------------------
 *
 * ddl.h
 *	  Keeps runners out of the way of commands.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_DDL_H
#define AGNO_DDL_H

extern void ddl_install_hooks(void);

#endif							/* AGNO_DDL_H */
