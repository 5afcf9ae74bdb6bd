/*-------------------------------------------------------------------------
 *
 * tool_function.h
 *	  SQL functions as tools.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_FUNCTION_H
#define AGNO_TOOL_FUNCTION_H

/* An argument that a caller gives. */
typedef struct ToolArgument
{
	char	   *name;
	Oid			type;
	bool		has_default;
	bool		variadic;
} ToolArgument;

/* What a function returns. */
typedef enum ToolResultKind
{
	RESULT_VOID,
	RESULT_VALUE,				/* shown as its text */
	RESULT_ROW					/* of columns: shown as a JSON object */
} ToolResultKind;

/*
 * A function or procedure as the catalog has it now. Strings are palloc'd, of
 * the database's encoding.
 */
typedef struct ToolFunction
{
	Oid			oid;
	char	   *signature;		/* schema.name(types), as it can be called */
	char	   *called;			/* schema.name */
	char	   *name;
	Oid			owner;
	bool		procedure;
	bool		read_only;		/* it says that it changes nothing */
	bool		returns_set;
	ToolResultKind result;
	char	   *column;			/* the name of the only column of a result
								 * that is no row itself, or NULL */
	ToolArgument *arguments;	/* argument_count of them */
	int			argument_count;
	char	  **out_names;		/* of a procedure: arguments that are only for
								 * its result; out_count of them */
	Oid		   *out_types;		/* of those */
	int			out_count;
} ToolFunction;

extern Oid	tool_function_oid(const char *signature);
extern bool tool_function_is_other(const char *name, const char *signature);
extern Oid	tool_function_lookup(const char *name);
extern char *tool_function_others(const char *name);
extern char *tool_function_signature(Oid function);
extern bool tool_function_find(const char *signature, ToolFunction *function);
extern void tool_function_read(Oid oid, ToolFunction *function);
extern const ToolArgument *tool_function_argument(const ToolFunction *function,
												  const char *name);
extern char *tool_function_comment(const ToolFunction *function);
extern char *tool_function_schema(const ToolFunction *function,
								  const char *const *hidden, bool strict);

#endif							/* AGNO_TOOL_FUNCTION_H */
