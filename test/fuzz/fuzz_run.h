/*
 * A run that waits for an answer, for the targets that feed it one.
 */
#ifndef AGNO_FUZZ_RUN_H
#define AGNO_FUZZ_RUN_H

#include "core/json.h"
#include "core/run.h"

/* The provider that the first byte of an input chooses. */
static inline const Provider *
fuzz_provider(char choice)
{
	static const Provider *const providers[] = {
		&provider_openai_responses, &provider_openai_chat, &provider_anthropic
	};

	return providers[(unsigned char) choice % lengthof(providers)];
}

static inline void
fuzz_start_run(Run *run, const Provider *provider)
{
	static Tool tool = {
		.name = "act",
		.function = "s.act()",
		.description = "",
		.parameters = "{\"type\":\"object\",\"properties\":{}}",
	};
	static const ToolList tools = {&tool, 1};

	memset(run, 0, sizeof(Run));
	run->run_id = "run";
	run->model = "model";
	run->provider = provider;
	run->attempt = 1;
	run->deadline = 1000000;
	run->retries = 1;
	run->tools = &tools;
	run->call_limit = 3;
	run_add_message(run, MESSAGE_USER, pstrdup("Hello"));
	run_sent(run);
}

/* What is stored of an answer with calls is read again when the run goes on. */
static inline void
fuzz_check_step(const char *step)
{
	cJSON	   *messages = cJSON_Parse(step);
	const cJSON *object;
	Message		message;

	require(json_is_jsonb(step));
	require(cJSON_IsArray(messages));
	cJSON_ArrayForEach(object, messages)
		require(message_read(object, NULL, &message));
	cJSON_Delete(messages);
}

/* What is stored of a run must be good enough for jsonb. */
static inline void
fuzz_check_run(const Run *run)
{
	char	   *json;
	StringInfoData body;

	require(run->step == STEP_STORE || run->step == STEP_BACK_OFF ||
			run->step == STEP_SEND);
	if (run->step != STEP_STORE)
		return;
	json = run_messages_json(run);
	require(json == NULL || json_is_jsonb(json));
	json = run_tools_json(run);
	require(json == NULL || json_is_jsonb(json));
	if (run->outcome.status == RUN_RUNNING)
	{
		require(run->planned_count > 0);
		for (int i = 0; i < run->planned_count; i++)
			require(run->planned[i].tool == NULL ?
					run->planned[i].refusal != NULL :
					json_is_jsonb(run->planned[i].arguments));
		fuzz_check_step(run_step_json(run));
		initStringInfo(&body);
		run_write_request(run, &body);
		require(json_is_jsonb(body.data));
	}
	json = run_outcome_metrics_json(&run->outcome);
	require(json == NULL || json_is_jsonb(json));
	json = run_outcome_error_json(&run->outcome);
	require(json == NULL || json_is_jsonb(json));
	require(run->outcome.content == NULL ||
			strcmp(text_scrub(run->outcome.content, strlen(run->outcome.content)),
				   run->outcome.content) == 0);
}

#endif							/* AGNO_FUZZ_RUN_H */
