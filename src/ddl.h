/*-------------------------------------------------------------------------
 *
 * ddl.h
 *	  Notices when the extension is dropped.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_DDL_H
#define AGNO_DDL_H

extern void ddl_install_hook(void);

#endif							/* AGNO_DDL_H */
