/*
 * The model options of a run, in the body of each API.
 */
#include "core/portable.h"

#include "fuzz.h"
#include "fuzz_run.h"

void
fuzz_one(const char *bytes, size_t length)
{
	char	   *options;

	if (length < 2)
		return;
	/* What users give is jsonb, an object. */
	options = fuzz_text(bytes + 1, length - 1);
	if (options[0] != '{' || !json_is_jsonb(options))
		return;
	for (const char *at = options; at != NULL;)
	{
		JsonMember	member;

		if (!json_next_member(&at, &member))
			break;
		if (provider_option_reserved(fuzz_provider(bytes[0]), member.key))
			return;
	}
	for (int streamed = 0; streamed <= 1; streamed++)
	{
		Run			run;
		StringInfoData body;

		fuzz_start_run(&run, fuzz_provider(bytes[0]));
		run.options = options;
		run.streamed = streamed == 1;
		initStringInfo(&body);
		run_write_request(&run, &body);
		require(json_is_jsonb(body.data));
	}
}
