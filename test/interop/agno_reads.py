"""What Agno's own package makes of agno_bg's views, and what it would have sent.

Run by test/t/027_agno_package.pl with the packages of one line of Agno, as
TAP. Arguments: the address of the database, of the mock model server, and a
JSON object {name: {"run_id", "session_id", "status"}} of runs that there are.
"""

import asyncio
import copy
import difflib
import json
import pprint
import re
import sys
import urllib.request

from agno.agent import Agent
from agno.db.base import SessionType
from agno.db.postgres import PostgresDb
from agno.models.anthropic import Claude
from agno.models.openai import OpenAIChat, OpenAIResponses
from agno.run.base import RunStatus
from agno.session.agent import AgentSession
import sqlalchemy

DB_URL, MOCK_URL, RUNS = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
VERSION = __import__("importlib.metadata").metadata.version("agno")

count = failed = 0


def same(got, expected, name):
    global count, failed
    count += 1
    ok = got == expected
    failed += not ok
    print("%sok %d - Agno %s: %s" % ("" if ok else "not ", count, VERSION, name))
    if not ok:
        print("\n".join("# " + line for line in difflib.ndiff(
            pprint.pformat(expected).split("\n"), pprint.pformat(got).split("\n"))
            if line[0] != " "))


engine = sqlalchemy.create_engine(DB_URL)


def query(sql, **parameters):
    with engine.connect() as connection:
        return connection.execute(sqlalchemy.text(sql), parameters).scalar()


def agent(**parameters):
    parameters.setdefault("model", model("echo"))
    return Agent(telemetry=False, **parameters)


def model(name):
    return OpenAIResponses(id=name, base_url=MOCK_URL, api_key="none")


def normal(value):
    """A dict without what reading from a database does to it in any case."""
    value = json.loads(json.dumps(value, default=str))
    for name in ("tools", "events"):
        if value.get(name) == []:
            del value[name]
    # Agno 2 does not know that a tool can be called by another.
    for tool in value.get("tools", []):
        if tool.get("parent_tool_call_id") is None:
            tool.pop("parent_tool_call_id", None)
    if value.get("metrics") == {}:
        del value["metrics"]
    # Agno takes these away when it saves a session.
    for name in ("user_id", "session_id", "run_id"):
        value.get("session_state", {}).pop("current_" + name, None)
    for requirement in value.get("requirements", []):
        requirement["tool_execution"] = {
            name: its for name, its in requirement["tool_execution"].items()
            if its is not None}
    return value


def shape(value):
    """Keys and types."""
    if isinstance(value, dict):
        return {key: shape(its) for key, its in value.items()}
    if isinstance(value, list):
        return [shape(its) for its in value]
    return type(value).__name__


async def reads():
    db = PostgresDb(db_url=DB_URL, db_schema="agno")
    reader = agent(id="reader", db=db)

    for name, run in RUNS.items():
        output = await reader.aget_run_output(run["run_id"], run["session_id"])
        same(output is not None, True, "%s is read" % name)
        same(output.run_id, run["run_id"], "%s: run_id" % name)
        same(output.status == RunStatus(run["status"]), True,
             "%s: status" % name)
        written = query("SELECT agno_run_output_dict(:id)", id=run["run_id"])
        same(normal(output.to_dict()), normal(written),
             "%s: to_dict() is agno_run_output_dict()" % name)
        same(reader.get_run_output(run["run_id"], run["session_id"]).run_id,
             run["run_id"], "%s: get_run_output" % name)
    output = await reader.aget_run_output("tools", RUNS["tools"]["session_id"])
    same([(tool.tool_name, tool.tool_args, tool.tool_call_error, tool.result)
          for tool in output.tools],
         [("weather", {"city": "Paris"}, False, "sunny in Paris"),
          ("weather", {"town": "x"}, True, output.tools[1].result)],
         "the executions of tools")
    same([message.role for message in output.messages],
         ["user", "assistant", "tool", "tool", "assistant", "tool", "assistant"],
         "the messages of a run with tools")
    same([message.tool_call_id for message in output.messages
          if message.role == "tool"],
         [call["id"] for message in output.messages
          for call in message.tool_calls or []],
         "each call has its result")
    same(output.content, "Let me look. Sunny.", "the content of a run with tools")
    same(await reader.aget_run_output("unknown", RUNS["completed"]["session_id"]),
         None, "an unknown run")
    same(await reader.aget_run_output(RUNS["completed"]["run_id"], "unknown"),
         None, "an unknown session")

    talk = RUNS["talk"]["session_id"]
    reader = agent(id="talker", db=db)
    session = reader.get_session(session_id=talk)
    same(isinstance(session, AgentSession), True, "get_session")
    same([run.input.input_content for run in session.runs],
         ["one", "two", "three"], "the runs of a session, in order")
    same(session.user_id, "ann", "user_id of a session")
    same(session.agent_data["name"], "Talker", "agent_data of a session")
    same(session.session_data["session_state"], {"mood": "good"},
         "the state of a session")
    same(session.session_data["session_metrics"]["total_tokens"], 54,
         "the metrics of a session")
    same(reader.get_session_state(session_id=talk), {"mood": "good"},
         "get_session_state")
    same(reader.get_session_metrics(session_id=talk).total_tokens, 54,
         "get_session_metrics")
    same(reader.get_last_run_output(session_id=talk).content,
         "You said: three", "get_last_run_output")
    chat = [(message.role, message.content)
            for message in reader.get_chat_history(session_id=talk)]
    same([one for one in chat if one[0] != "system"],
         [(role, said + word) for word in ("one", "two", "three")
          for role, said in (("user", ""), ("assistant", "You said: "))],
         "get_chat_history")
    same([message.content
          for message in reader.get_session_messages(session_id=talk)
          if message.role == "user"],
         ["one", "two", "three"], "get_session_messages")

    sessions = db.get_sessions(session_type=SessionType.AGENT, limit=1000,
                               sort_by="created_at", sort_order="asc")
    same({run["session_id"] for run in RUNS.values()}
         <= {one.session_id for one in sessions}, True, "session listing")
    same([one.session_id for one in db.get_sessions(
        session_type=SessionType.AGENT, user_id="ann")], [talk],
        "sessions of a user")
    same([one.session_id for one in db.get_sessions(
        session_type=SessionType.AGENT, component_id="talker")], [talk],
        "sessions of an agent")
    page, total = db.get_sessions(session_type=SessionType.AGENT, limit=2,
                                  page=2, deserialize=False)
    same((len(page), total >= len({run["session_id"]
                                   for run in RUNS.values()})), (2, True),
         "a page of sessions")

    # What only the third line has.
    if hasattr(db, "get_runs"):
        run = db.get_run(RUNS["completed"]["run_id"])
        same(run.content, "You said: Hello", "db.get_run")
        same([run.input.input_content for run in db.get_runs(session_id=talk)],
             ["one", "two", "three"], "db.get_runs of a session")
        same({run.run_id for run in db.get_runs(status=RunStatus.cancelled)}
             >= {RUNS["cancelled"]["run_id"]}, True, "db.get_runs by status")


def last_request():
    """What the mock was asked last."""
    with urllib.request.urlopen(MOCK_URL + "/last") as answer:
        return json.load(answer)


def last_input():
    return last_request()["input"]


# Definitions that assemble to the same prompt in both lines of Agno; those of
# one line come below.
AGENTS = [
    {},
    {"description": "A helper."},
    {"role": "critic"},
    {"description": "D {thing}", "role": "R $thing", "instructions": ["only"]},
    {"instructions": ["only"], "use_instruction_tags": True},
    {"instructions": ["a", "b {user_id}"], "use_instruction_tags": True},
    {"instructions": ["only"], "markdown": True},
    {"name": "The Name", "add_name_to_context": True, "markdown": True},
    {"expected_output": "  padded {thing}\n", "additional_context": "C {thing}"},
    {"system_message": " all {thing} of it $$ ", "description": "not sent"},
    {"system_message": "as {thing} is", "resolve_in_context": False},
    {"description": "{thing} {nest} {list} {none} {yes} {float} {text} $text "
     "${text} $$ {unknown} $unknown {plan} {current_session_id} {x-y}"},
    {"add_session_state_to_context": True},
    {"description": "D", "expected_output": "E", "additional_context": "A",
     "instructions": ["only"], "markdown": True,
     "add_session_state_to_context": True},
    {"markdown": True, "output_schema": {"type": "json_schema", "json_schema": {
        "name": "T", "schema": {"type": "object", "properties": {}}}}},
]
AGENTS_OF_2 = [
    {"instructions": ["a", "b"]},
    {"description": "D", "role": "R", "instructions": ["a", "b\nc", " d "],
     "markdown": True, "expected_output": "E"},
    {"instructions": ["a\nb", "c"], "use_instruction_tags": True},
]
STATE = {"thing": "T", "nest": {"a": [1, 2.5, True, None, "it's"]},
         "list": [1, "b"], "none": None, "yes": True, "float": 0.00001,
         "text": "say \"hi\"\n\t\\ é 漢 \u200b\u00a0 'q'", "x-y": 1,
         "big": 123456789012345678901234567890, "exp": 1e22}
INPUT = "Say {thing} of {plan} for $user_id, {{thing}} {unknown} $$5 {nest}"


async def sends():
    """The same definitions, executed by Agno and by agno_bg."""
    agents = AGENTS + (AGENTS_OF_2 if VERSION.startswith("2.") else [])
    for number, definition in enumerate(agents):
        run_id = "%s-%d" % (VERSION, number)
        session_id = "s-" + run_id
        # jsonb has an order of keys of its own
        state = json.loads(json.dumps(query(
            "SELECT CAST(:state AS jsonb)", state=json.dumps(STATE))))
        parameters = copy.deepcopy(definition)
        schema = parameters.pop("output_schema", None)
        output = await agent(id=run_id, **parameters, output_schema=schema).arun(
            INPUT, run_id=run_id, session_id=session_id, user_id="u1",
            session_state=copy.deepcopy(state), metadata={"plan": "gold"})
        expected = last_input()

        columns = dict(definition, agent_id=run_id, model="mock:echo")
        columns = {name: json.dumps(value) if isinstance(value, dict) else value
                   for name, value in columns.items()}
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(
                "INSERT INTO agno.agents (%s) VALUES (%s)" % (
                    ", ".join(columns), ", ".join(":" + name for name in columns))),
                columns)
            connection.execute(sqlalchemy.text(
                "SELECT agno_arun(:input, :id, :session, :id, 'u1', "
                "session_state => CAST(:state AS jsonb), "
                "metadata => '{\"plan\": \"gold\"}')"),
                dict(input=INPUT, id=run_id, session=session_id,
                     state=json.dumps(STATE)))
        query("SELECT status FROM agno_wait_run(:id, '1 min')", id=run_id)
        same(last_input(), expected, "sent for %s" % json.dumps(definition))
        written = query("SELECT agno_run_output_dict(:id)", id=run_id)
        same(shape(normal(written)), shape(normal(output.to_dict())),
             "agno_run_output_dict() for %s" % json.dumps(definition))


def wire_weather(city: str, days: int = 3, exact: bool = False) -> str:
    """Get the weather.

    Args:
        city: name of the city
        days: for how many days
    """
    return "sunny in %s for %d days" % (city, days)


def wire_now() -> str:
    """Tell the time."""
    return "noon"


WIRE_FUNCTIONS = (
    "CREATE OR REPLACE FUNCTION wire_weather(city text, days integer DEFAULT 3, "
    "exact boolean DEFAULT false) RETURNS text LANGUAGE sql STABLE AS "
    "'SELECT format(''sunny in %s for %s days'', city, days)'",
    "COMMENT ON FUNCTION wire_weather IS 'Get the weather.\n\nArgs:\n"
    "    city: name of the city\n    days: for how many days'",
    "CREATE OR REPLACE FUNCTION wire_now() RETURNS text LANGUAGE sql STABLE AS "
    "'SELECT ''noon'''",
    "COMMENT ON FUNCTION wire_now IS 'Tell the time.'")
WIRE_SCRIPTS = [
    {"calls": [[{"name": "wire_weather", "arguments": {"city": "Paris"}},
                {"name": "wire_now", "arguments": {}}],
               [{"name": "wire_weather",
                 "arguments": {"city": "Rome", "days": 1}}]],
     "say": ["Let me look.", ""]},
    {"calls": [[{"name": "nobody", "arguments": {}}],
               [{"name": "wire_now", "arguments": ""}]]},
    {"calls": [[{"name": "wire_weather", "arguments": "[1]"}]]},
    {"calls": [[{"name": "wire_now", "arguments": {}}] * 3]},
]
WIRE_DEFINITIONS = [
    {}, {"tool_choice": "auto"},
    {"description": "D", "markdown": True},
]


APIS = {
    "mock": lambda: model("tools"),
    "chat": lambda: OpenAIChat(id="tools", base_url=MOCK_URL, api_key="none"),
    "claude": lambda: Claude(id="tools", api_key="none", client_params={
        "base_url": MOCK_URL.removesuffix("/v1")}),
}


def one_text(content):
    """Anthropic takes a text, or a list of one block of text."""
    if isinstance(content, list) and len(content) == 1 and \
            content[0].get("type") == "text":
        return content[0]["text"]
    return content


def sent(request):
    """A request, but for what doc/agno.md says is different: the bounds of an
    integer, whether the server is to hold the model to the schema (its default
    differs from API to API), what the model says and thinks beside its calls (which
    Agno sends back to models of OpenAI only whose names it knows), the role of the
    system message of Chat Completions, its arguments where there are none, and,
    with Anthropic, tool_choice, errors that are said to be some, and descriptions
    where there are none."""
    request = copy.deepcopy(request)
    for tool in request.get("tools", []):
        its = tool.get("function", tool)
        its.pop("strict", None)
        schema = its.get("parameters", its.get("input_schema"))
        schema.pop("additionalProperties", None)
        for argument in schema["properties"].values():
            argument.pop("minimum", None)
            argument.pop("maximum", None)
            if "input_schema" in its and argument.get("description") == "":
                del argument["description"]
    if "input" in request:
        request["input"] = [item for item in request["input"]
                            if item.get("type") not in ("reasoning", "message")]
    for message in request.get("messages", []):
        if message["role"] == "developer":
            message["role"] = "system"
        message["content"] = one_text(message["content"])
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = call["function"]["arguments"] or "{}"
        if isinstance(message["content"], list):
            for block in message["content"]:
                block.pop("is_error", None)
    request["system"] = one_text(request.get("system"))
    if request.get("max_tokens"):
        request.pop("tool_choice", None)
    return {name: request.get(name) for name in (
        "input", "messages", "system", "max_tokens", "tools", "tool_choice",
        "include", "store")}


def without_wire(run):
    """A run, but for what doc/agno.md says is different: what is kept of an answer
    besides its text and its calls, tokens that were written to a cache, the time to
    the first token, which Agno tells of some messages, and arguments where there
    are none."""
    run.pop("model_provider_data", None)
    details = [detail for its in run["metrics"].get("details", {}).values()
               for detail in its]
    for metrics in [run["metrics"]] + details + [
            message.get("metrics", {}) for message in run["messages"]]:
        metrics.pop("cache_write_tokens", None)
    for message in run["messages"]:
        message.pop("provider_data", None)
        message.get("metrics", {}).pop("time_to_first_token", None)
        for call in message.get("tool_calls", []):
            if call["function"].get("arguments") == "{}":
                del call["function"]["arguments"]
    return run


async def sends_tools(server):
    """The same functions, called for Agno and for agno_bg."""
    for number, definition in enumerate(WIRE_DEFINITIONS):
        agent_id = "wire-%s-%s-%d" % (VERSION, server, number)
        columns = dict(definition, agent_id=agent_id, model=server + ":tools",
                       tools=["wire_weather", "wire_now"])
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(
                "INSERT INTO agno.agents (%s) VALUES (%s)" % (
                    ", ".join(columns), ", ".join(":" + name for name in columns))),
                columns)
        for script in WIRE_SCRIPTS:
            text = json.dumps(script)
            # Anthropic has no arguments that are no objects.
            if server == "claude" and "[1]" in text:
                continue
            output = await agent(id=agent_id, model=APIS[server](),
                                 tools=[wire_weather, wire_now],
                                 **definition).arun(text)
            expected = sent(last_request())
            with engine.begin() as connection:
                run_id = connection.execute(sqlalchemy.text(
                    "SELECT run_id FROM agno_arun(:input, :id)"),
                    dict(input=text, id=agent_id)).scalar()
            query("SELECT status FROM agno_wait_run(:id, '1 min')", id=run_id)
            name = "%s, %s, %s" % (server, json.dumps(definition), text)
            same(sent(last_request()), expected, "sent with tools: " + name)
            written = query("SELECT agno_run_output_dict(:id)", id=run_id)
            same(shape(without_wire(normal(written))),
                 shape(without_wire(normal(output.to_dict()))),
                 "agno_run_output_dict() with tools: " + name)


def told(event):
    """An event of a call, but for times."""
    tool = normal({"tools": [event["tool"]]})["tools"][0]
    return (tool["tool_call_id"], event["event"],
            re.sub(r"in [0-9.]+s", "in s", event.get("content", "")),
            event.get("error"), shape(tool))


async def tells(server):
    """What those who follow a run are told of calls."""
    agent_id = "wire-%s-%s-0" % (VERSION, server)
    text = json.dumps(WIRE_SCRIPTS[0])
    names = ("ToolCallStarted", "ToolCallCompleted", "ToolCallError")
    expected = [json.loads(json.dumps(event.to_dict(), default=str))
                async for event in agent(
                    id=agent_id, model=APIS[server](),
                    tools=[wire_weather, wire_now]).arun(
                        text, stream=True, stream_events=True)]
    with engine.begin() as connection:
        run_id = connection.execute(sqlalchemy.text(
            "SELECT run_id FROM agno_arun(:input, :id, stream => true)"),
            dict(input=text, id=agent_id)).scalar()
    query("SELECT status FROM agno_wait_run(:id, '1 min')", id=run_id)
    got = query("SELECT json_agg(data ORDER BY seq) FROM agno_run_events(:id)",
                id=run_id)
    same(*([told(event) for event in events if event["event"] in names]
           for events in (got, expected)),
         name="events of calls: " + server)


async def main():
    await reads()
    await sends()
    with engine.begin() as connection:
        for statement in WIRE_FUNCTIONS:
            connection.execute(sqlalchemy.text(statement.replace(":", "\\:")))
    for server in APIS:
        await sends_tools(server)
    # The mock streams too little of the other APIs for Agno.
    await tells("chat")
    print("1..%d" % count)
    return failed > 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
