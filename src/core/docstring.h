/*-------------------------------------------------------------------------
 *
 * docstring.h
 *	  Comments that describe a function and its arguments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_DOCSTRING_H
#define AGNO_DOCSTRING_H

typedef struct DocArgument
{
	char	   *name;
	char	   *description;
} DocArgument;

/* A comment taken apart; all of it palloc'd. */
typedef struct Docstring
{
	char	   *description;	/* what comes before the sections; may be "" */
	DocArgument *arguments;		/* argument_count of them */
	int			argument_count;
} Docstring;

extern void docstring_read(const char *comment, Docstring *docstring);
extern const char *docstring_argument(const Docstring *docstring,
									  const char *name);

#endif							/* AGNO_DOCSTRING_H */
