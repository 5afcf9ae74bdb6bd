/*-------------------------------------------------------------------------
 *
 * known_servers.c
 *	  Model servers that need no more than a key.
 *
 * Names, addresses and variables are those of Agno's model classes, and for
 * groq and mistral those of the providers' own documentation. Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/known_servers.h"
#include "lib/stringinfo.h"

#define CHAT "openai-chat"

#define MISTRAL "https://api.mistral.ai/"

static const KnownServer servers[] = {
	{"openai", "openai-responses", "https://api.openai.com/v1",
	"OPENAI_BASE_URL", "OPENAI_API_KEY"},
	{"anthropic", "anthropic", "https://api.anthropic.com/v1",
	NULL, "ANTHROPIC_API_KEY"},
	{"cerebras", CHAT, "https://api.cerebras.ai/v1", NULL, "CEREBRAS_API_KEY"},
	{"dashscope", CHAT,
		"https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
	NULL, "DASHSCOPE_API_KEY"},
	{"deepinfra", CHAT, "https://api.deepinfra.com/v1/openai",
	NULL, "DEEPINFRA_API_KEY"},
	{"deepseek", CHAT, "https://api.deepseek.com", NULL, "DEEPSEEK_API_KEY"},
	{"fireworks", CHAT, "https://api.fireworks.ai/inference/v1",
	NULL, "FIREWORKS_API_KEY"},
	{"gemini", CHAT,
		"https://generativelanguage.googleapis.com/v1beta/openai",
	NULL, "GOOGLE_API_KEY"},
	{"groq", CHAT, "https://api.groq.com/openai/v1", NULL, "GROQ_API_KEY"},
	{"llamacpp", CHAT, "http://127.0.0.1:8080/v1", NULL, NULL},
	{"lmstudio", CHAT, "http://127.0.0.1:1234/v1", NULL, NULL},
	{"mistral", CHAT, MISTRAL "v1", NULL, "MISTRAL_API_KEY"},
	{"moonshot", CHAT, "https://api.moonshot.ai/v1", NULL, "MOONSHOT_API_KEY"},
	{"nebius", CHAT, "https://api.tokenfactory.nebius.com/v1",
	NULL, "NEBIUS_API_KEY"},
	{"nvidia", CHAT, "https://integrate.api.nvidia.com/v1",
	NULL, "NVIDIA_API_KEY"},
	{"ollama", CHAT, "http://localhost:11434/v1", NULL, NULL},
	{"openrouter", CHAT, "https://openrouter.ai/api/v1",
	NULL, "OPENROUTER_API_KEY"},
	{"perplexity", CHAT, "https://api.perplexity.ai",
	NULL, "PERPLEXITY_API_KEY"},
	{"sambanova", CHAT, "https://api.sambanova.ai/v1",
	NULL, "SAMBANOVA_API_KEY"},
	{"siliconflow", CHAT, "https://api.siliconflow.cn/v1",
	NULL, "SILICONFLOW_API_KEY"},
	{"together", CHAT, "https://api.together.xyz/v1",
	NULL, "TOGETHER_API_KEY"},
	{"vllm", CHAT, "http://localhost:8000/v1", "VLLM_BASE_URL", NULL},
	{"xai", CHAT, "https://api.x.ai/v1", NULL, "XAI_API_KEY"},
};

/*
 * The server of this name, or NULL.
 */
const KnownServer *
known_server_find(const char *name)
{
	for (int i = 0; i < (int) lengthof(servers); i++)
	{
		if (strcmp(servers[i].name, name) == 0)
			return &servers[i];
	}
	return NULL;
}

/*
 * Whether a server tells the tokens of a stream unasked, and refuses to be asked. (Mistral's
 * does: HTTP 422, extra_forbidden, stream_options.include_usage.)
 */
bool
known_server_tells_usage(const char *base_url)
{
	return strncmp(base_url, MISTRAL, strlen(MISTRAL)) == 0;
}

/*
 * All names, for a hint.
 */
char *
known_server_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(servers); i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", servers[i].name);
	return names.data;
}
