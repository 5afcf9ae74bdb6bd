/*-------------------------------------------------------------------------
 *
 * agent.h
 *	  What of an agent's definition makes the prompt.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_AGENT_H
#define AGNO_AGENT_H

/*
 * An agent as it was when the run was enqueued. The fields are the columns of
 * agno.agents of these names, and mean what Agno's Agent does with them. All
 * strings are UTF-8, in the memory context of agent_read(), or NULL.
 */
typedef struct Agent
{
	char	   *name;
	char	   *description;
	char	   *role;
	char	  **instructions;	/* instruction_count of them */
	int			instruction_count;
	bool		use_instruction_tags;
	char	   *expected_output;
	char	   *additional_context;
	char	   *system_message;
	bool		markdown;
	bool		add_name_to_context;
	bool		add_datetime_to_context;
	char	   *timezone_identifier;
	bool		add_session_state_to_context;
	bool		resolve_in_context;
} Agent;

extern Agent *agent_read(const char *json);

#endif							/* AGNO_AGENT_H */
