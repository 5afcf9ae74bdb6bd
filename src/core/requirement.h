/*-------------------------------------------------------------------------
 *
 * requirement.h
 *	  What a PAUSED run waits for: somebody's decision about a call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_REQUIREMENT_H
#define AGNO_REQUIREMENT_H

#include "core/uuid.h"
#include "lib/stringinfo.h"

/* What somebody has to decide or to give before a call goes on. */
typedef enum RequirementKind
{
	REQUIRES_NOTHING,
	REQUIRES_CONFIRMATION,		/* whether the call may be made */
	REQUIRES_USER_INPUT,		/* arguments that the model does not give */
	REQUIRES_EXTERNAL_EXECUTION /* the result: it is executed elsewhere */
} RequirementKind;

/* What has been decided. */
typedef enum Decision
{
	DECISION_NONE,				/* it is waited for */
	DECISION_APPROVED,
	DECISION_REJECTED,
	DECISION_ANSWERED			/* the input, or the result, is there */
} Decision;

/*
 * A requirement. All strings are UTF-8, and owned by whoever owns the struct.
 */
typedef struct Requirement
{
	char	   *id;				/* unique for all time */
	RequirementKind kind;
	char	   *created_at;		/* ISO 8601, with the offset from UTC */
	char	   *input_schema;	/* JSON schema of the arguments that are to be
								 * given; NULL but for user input */
	char	   *preview;		/* JSON: what the call would do; or NULL */
	Decision	decision;
	char	   *note;			/* with a decision, or NULL */
	char	   *answer;			/* a JSON object of the arguments given so
								 * far, or the text of the result; or NULL */
} Requirement;

extern const char *requirement_kind_name(RequirementKind kind);
extern RequirementKind requirement_kind_parse(const char *name);
extern const char *decision_name(Decision decision);
extern Decision decision_parse(const char *name);
extern Requirement *requirement_copy(const Requirement *requirement);
extern const char *requirement_rejection(const char *note);
extern const char *requirement_pause_text(RequirementKind kind);
extern bool requirement_is_pause_text(const char *content);
extern char *requirement_arguments(const Requirement *requirement,
								   const char *arguments);
extern void requirement_append_execution(StringInfo out,
										 const Requirement *requirement,
										 const char *arguments, bool consumed);
extern void requirement_append(StringInfo out, const Requirement *requirement,
							   const char *arguments, const char *execution);
extern char *requirement_patch(const Requirement *requirement,
							   const char *arguments);
extern char *requirement_execution_patch(const Requirement *requirement,
										 const char *arguments);

#endif							/* AGNO_REQUIREMENT_H */
