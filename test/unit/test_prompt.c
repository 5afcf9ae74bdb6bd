/*
 * prompt.c: expected values are what Agno 2.9.0 sends. The test of the real
 * package (test/t/027_agno_package.pl) compares many more.
 */
#include "core/portable.h"

#include "core/prompt.h"
#include "killer.h"
#include "unit.h"

static PromptContext
context_of(const char *definition)
{
	PromptContext context = {
		.agent = agent_read(definition),
		.run_id = "r1",
		.session_id = "s1",
		.user_id = "u1",
		.session_state = "{\"thing\": \"T\", \"x-y\": 1, \"n\": {\"a\": 2.50}}",
		.metadata = "{\"thing\": \"M\", \"plan\": \"gold\"}",
		.now = "2026-01-02 03:04:05.678901",
	};

	return context;
}

static char *
system_message(const char *definition)
{
	PromptContext context = context_of(definition);

	return prompt_system_message(&context);
}

static char *
resolved(const char *input)
{
	PromptContext context = context_of("{\"resolve_in_context\": true}");

	return prompt_user_message(&context, input);
}

/* What Agno has models told besides comes before the state of the session. */
static void
test_model_text(void)
{
	PromptContext context = context_of("{}");

	context.model_text = "Do not.\n\n";
	check_text(prompt_system_message(&context), "Do not.");
	context = context_of("{\"description\": \"D\", \"additional_context\": \"A\", \"expected_output\": \"E\"}");
	context.model_text = "Do not {x}.\n\n";
	check_text(prompt_system_message(&context),
			   "D\n<expected_output>\nE\n</expected_output>\n\nA\nDo not {x}.");
	context = context_of("{\"system_message\": \"S\"}");
	context.model_text = "Do not.\n\n";
	check_text(prompt_system_message(&context), "S");
}

static void
test_parts(void)
{
	check_text(system_message("{}"), NULL);
	check_text(system_message("{\"description\": \"D\"}"), "D");
	check_text(system_message("{\"role\": \"R\"}"),
			   "<your_role>\nR\n</your_role>");
	check_text(system_message("{\"description\": \"D\", \"role\": \"R\","
							  "\"instructions\": [\"one\"]}"),
			   "D\n\n<your_role>\nR\n</your_role>\n\none");
	check_text(system_message("{\"instructions\": [\"one\", \"two\"],"
							  "\"markdown\": true}"),
			   "- one\n- two\n<additional_information>\n"
			   "- Use markdown to format your answers.\n"
			   "</additional_information>");
	check_text(system_message("{\"instructions\": [\"one\", \"two\"],"
							  "\"use_instruction_tags\": true}"),
			   "<instructions>\n- one\n- two\n</instructions>");
	check_text(system_message("{\"instructions\": [\"one\"],"
							  "\"use_instruction_tags\": true,"
							  "\"additional_context\": \"C\"}"),
			   "<instructions>\none\n</instructions>\n\nC");
	check_text(system_message("{\"instructions\": []}"), NULL);
	check_text(system_message("{\"name\": \"N\"}"), NULL);
	check_text(system_message("{\"name\": \"N\", \"add_name_to_context\": true,"
							  "\"add_datetime_to_context\": true}"),
			   "<additional_information>\n"
			   "- The current time is 2026-01-02 03:04:05.678901.\n"
			   "- Your name is: N.\n</additional_information>");
	check_text(system_message("{\"expected_output\": \" E {thing} \","
							  "\"additional_context\": \"C {thing}\","
							  "\"resolve_in_context\": true}"),
			   "<expected_output>\nE {thing}\n</expected_output>\n\nC {thing}");
	check_text(system_message("{\"add_session_state_to_context\": true}"),
			   "<session_state>\n{'thing': 'T', 'x-y': 1, 'n': {'a': 2.5}, "
			   "'current_user_id': 'u1', 'current_session_id': 's1', "
			   "'current_run_id': 'r1'}\n</session_state>");
	check_text(system_message("{\"system_message\": \" only {thing} \","
							  "\"description\": \"D\","
							  "\"resolve_in_context\": true}"),
			   " only T ");
	check_text(system_message("{\"system_message\": \"\"}"), NULL);
}

static void
test_structured(void)
{
	PromptContext context = context_of("{\"markdown\": true}");

	context.structured = true;
	check_text(prompt_system_message(&context), NULL);
}

static void
test_variables(void)
{
	check_text(resolved("plain"), "plain");
	check_text(resolved("{thing} {plan} {user_id}"), "T gold u1");
	check_text(resolved("{current_run_id} {current_session_id}"), "r1 s1");
	check_text(resolved("{n}"), "{'a': 2.5}");
	check_text(resolved("{unknown} {} { thing }"), "{unknown} {} { thing }");
	check_text(resolved("$thing ${thing} $unknown $5 $"),
			   "T ${thing} $unknown $5 $");
	check_text(resolved("cost: $$5"), "cost: $5");
	check_text(resolved("${{thing}}"), "${T}");
	check_text(resolved("{x-y}"), "${x-y}");
	check_text(resolved("$thingX $thing_ {{thing}}"), "$thingX $thing_ {T}");
	check_text(resolved("{thing"), "{thing");
	check_text(resolved("é{thing}é"), "éTé");
}

/* Without an agent, only a session state makes variables of an input. */
static void
test_no_agent(void)
{
	PromptContext context = {.run_id = "r",.session_id = "s",.metadata = "{\"a\": 1}"};

	check_text(prompt_system_message(&context), NULL);
	check_text(prompt_user_message(&context, "$$ {a}"), "$$ {a}");
	context.session_state = "{\"b\": 2}";
	check_text(prompt_user_message(&context, "{a} {b} {user_id}"),
			   "1 2 {user_id}");
}

/* A state that has the names that Agno adds. */
static void
test_current_ids(void)
{
	PromptContext context = context_of("{\"add_session_state_to_context\": true}");

	context.session_state = "{\"current_run_id\": \"old\", \"current_user_id\": 5}";
	context.user_id = NULL;
	check_text(prompt_system_message(&context),
			   "<session_state>\n{'current_user_id': 5, "
			   "'current_session_id': 's1', 'current_run_id': 'r1'}\n"
			   "</session_state>");
}

/*
 * A state of so many variables, in an order: with the two that follow it, sorted or the
 * worst for qsort().
 */
static char *
many_variables(bool sorted)
{
	const int  *ranks = killer_order();
	int			session = ranks[KILLER_COUNT - 2];	/* current_session_id */
	int			run = ranks[KILLER_COUNT - 1];	/* current_run_id */
	StringInfoData state;

	check(run < session);
	initStringInfo(&state);
	for (int i = 0; i < KILLER_COUNT - 2; i++)
	{
		int			rank = sorted ? i : ranks[i];

		appendStringInfo(&state, "%c\"%s%05d\":1", i > 0 ? ',' : '{',
						 rank < run ? "a" : rank < session ? "current_s" : "d", rank);
	}
	appendStringInfoChar(&state, '}');
	return state.data;
}

static double
seconds_with(const char *session_state)
{
	PromptContext context = context_of("{\"resolve_in_context\": true}");
	clock_t		start;

	context.session_state = session_state;
	context.metadata = NULL;
	context.user_id = NULL;
	start = clock();
	check_text(prompt_user_message(&context, "{current_s00042}"), "1");
	return (double) (clock() - start) / CLOCKS_PER_SEC;
}

/* The order of variables makes it neither slow nor fast. */
static void
test_killer_order(void)
{
	double		usual = seconds_with(many_variables(true));
	double		worst = seconds_with(many_variables(false));

	printf("# %.3f s, %.3f s\n", usual, worst);
	check(worst < 10 * usual);
}

int
main(void)
{
	test_parts();
	test_model_text();
	test_structured();
	test_variables();
	test_no_agent();
	test_current_ids();
	test_killer_order();
	return unit_done();
}
