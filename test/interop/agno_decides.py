"""What Agno's own package makes of a PAUSED run of agno_bg: it lists what is waited for,
decides with its own methods, and what it sends back is accepted; and a run of its own,
with the same tools and the same answers of the model, has requirements of the same shape.

Run by test/t/089_agno_decides.pl with the packages of one line of Agno, as TAP.
Arguments: the address of the database, and of the mock model server.
"""

import asyncio
import json
import sys

import sqlalchemy
from agno.agent import Agent
from agno.db.postgres import PostgresDb
from agno.models.openai import OpenAIResponses
from agno.run.base import RunStatus
from agno.tools import tool

DB_URL, MOCK_URL = sys.argv[1], sys.argv[2]
VERSION = __import__("importlib.metadata").metadata.version("agno")
LINE = VERSION.split(".")[0]
SCRIPT = {"calls": [[{"name": "careful", "arguments": {"what": "x"}},
                     {"name": "free", "arguments": {}},
                     {"name": "mail", "arguments": {"subject": "Hi"}},
                     {"name": "shell", "arguments": {"command": "ls"}}]]}

engine = sqlalchemy.create_engine(DB_URL)
count = failed = 0


def same(got, expected, name):
    global count, failed
    count += 1
    ok = got == expected
    failed += not ok
    print("%sok %d - Agno %s: %s" % ("" if ok else "not ", count, VERSION, name))
    if not ok:
        print("# got %r\n# expected %r" % (got, expected))


def query(sql, **parameters):
    with engine.begin() as connection:
        return connection.execute(sqlalchemy.text(sql), parameters).scalar()


@tool(requires_confirmation=True)
def careful(what: str) -> str:
    """Be careful."""
    return "did " + what


def free() -> str:
    """Do it."""
    return "free"


@tool(requires_user_input=True, user_input_fields=["recipient"])
def mail(subject: str, recipient: str) -> str:
    """Send a mail."""
    return subject + " to " + recipient


@tool(external_execution=True)
def shell(command: str) -> str:
    """Run a command."""
    return command


def shape(value):
    """Keys and types; what is null in one of them may have a value in the other."""
    if isinstance(value, dict):
        return {key: shape(its) for key, its in value.items()
                if its is not None and key != "description"}
    if isinstance(value, list):
        return [shape(its) for its in value]
    return type(value).__name__


async def main():
    db = PostgresDb(db_url=DB_URL, db_schema="agno")
    reader = Agent(id="reader", db=db, telemetry=False)
    run_id = "decided-" + LINE
    query("SELECT run_id FROM agno_arun(:input, 'a', run_id => :id)",
          input=json.dumps(dict(SCRIPT, id=run_id)), id=run_id)
    query("SELECT status FROM agno_wait_run(:id, '1 min')", id=run_id)
    session_id = query("SELECT session_id FROM agno.runs WHERE run_id = :id", id=run_id)

    output = await reader.aget_run_output(run_id, session_id)
    same(output.status == RunStatus.paused, True, "a run is paused")
    same(output.is_paused, True, "for the package as well")
    same([(r.pause_type, r.tool_execution.tool_name) for r in output.active_requirements],
         [("confirmation", "careful"), ("user_input", "mail"), ("external_execution", "shell")],
         "active_requirements")
    same([r.needs_confirmation for r in output.active_requirements], [True, False, False], "who needs confirmation")
    same([(t.tool_name, t.is_paused, t.result) for t in output.tools if t.tool_name == "free"],
         [("free", False, "free")], "what was executed")
    same([f.name for f in output.active_requirements[1].user_input_schema if f.value is None], ["recipient"],
         "the input that is asked for")

    own = await Agent(id="own", model=OpenAIResponses(id="tools", base_url=MOCK_URL, api_key="none"), telemetry=False,
                      tools=[careful, free, mail, shell]).arun(json.dumps(dict(SCRIPT, id="own-" + LINE)))
    same(output.content, own.content, "the content of a run that waits")
    same([shape(r.to_dict()) for r in output.requirements], [shape(r.to_dict()) for r in own.requirements],
         "requirements of the same shape as its own")
    same([m.role for m in output.messages], [m.role for m in own.messages], "and messages")

    # A part of it first, as another client would.
    output.active_requirements[0].reject("not now")
    sent = json.dumps([r.to_dict() for r in output.requirements], default=str)
    same(query("SELECT status FROM agno_continue_run(:id, CAST(:sent AS jsonb))", id=run_id, sent=sent), "PAUSED",
         "one of three decisions")
    output = await reader.aget_run_output(run_id, session_id)
    same([r.tool_execution.tool_name for r in output.active_requirements], ["mail", "shell"], "two are left")
    waiting = output.active_requirements
    waiting[0].provide_user_input({"recipient": "ann"})
    waiting[1].set_external_execution_result("a file")
    sent = json.dumps([r.to_dict() for r in output.requirements], default=str)
    same(query("SELECT status FROM agno_continue_run(:id, CAST(:sent AS jsonb))", id=run_id, sent=sent), "PENDING",
         "all requirements as the package has them are accepted")
    query("SELECT status FROM agno_wait_run(:id, '1 min')", id=run_id)
    output = await reader.aget_run_output(run_id, session_id)
    same(output.status == RunStatus.completed, True, "the run goes on")
    same(output.active_requirements, [], "and waits for nothing")
    same({t.tool_name: (t.confirmed, t.confirmation_note, t.tool_call_error, t.result) for t in output.tools},
         {"free": (None, None, False, "free"), "careful": (False, "not now", True, None),
          "mail": (None, None, False, "Hi to ann"), "shell": (None, None, False, "a file")},
         "the executions are as they were decided")
    same({t.tool_name: t.tool_args for t in output.tools}["mail"], {"subject": "Hi", "recipient": "ann"},
         "with all arguments")
    print("1..%d" % count)
    return failed > 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
