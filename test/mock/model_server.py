#!/usr/bin/env python3
"""A model server for tests and the demonstration: OpenAI's Responses API.

How it behaves is in the id of the model that a request names:

    gpt-5-mini, echo, ...   answers at once
    slow-MS                 answers after MS milliseconds
    hang                    never answers
    gate                    answers when there is a file with the name of the log
                            and .gate
    numbers-COUNT           so does this, with as many numbers beside the answer
    stamp-MS                answers after MS milliseconds with the number of the
                            request in the log
    status-CODE             an error of this HTTP status, with OpenAI's JSON
    closed-CODE             the same until there is the file of gate; then it answers
    rate-N                  answers N requests a second, and says 429 to the others
    html-CODE               the same with a page of HTML
    quota                   a 429 that says that the account is empty
    flaky-N-CODE[-MS]       an error N times for each input, then an answer, after MS
                            milliseconds
    after-MS-CODE[-always]  once an error that asks for a pause (retry-after-ms), or
                            each time
    incomplete, failed      a response that ended so
    error-200               HTTP 200 with an error object
    badjson, empty          HTTP 200 with what is no JSON
    cut                     closes the connection in the middle of the body
    drop                    closes the connection instead of answering
    huge-KB[-MS]            an answer of so many kilobytes, after MS milliseconds
    hostile                 NUL, lone surrogates and invalid UTF-8 in the text
    deep-N                  N levels of nested arrays
    redirect                HTTP 307 to itself
    reasoning               an answer with a summary of the reasoning
    options                 answers with the body of the request
    raw[-MS]                answers with what the user says for a body, of which each
                            line comes MS milliseconds after the one before; with
                            the results of calls, it answers as others do
    misfit-N                an answer that does not fit the schema, N times
    words-MS                streams a word each MS milliseconds
    break-N                 streams, and closes the connection after the first
                            word, N times for each input
    mute                    streams the first word, and nothing more
    unended-cut, -hang      streams all of the answer, and then closes the connection
                            without the end of the body, or leaves it open
    work-MS[-stubborn]      with "background", is done after MS milliseconds; stubborn
                            ones hear of a cancel after a minute only
    tools[-MS]              calls tools, after MS milliseconds each time, as the
                            last message of the user says in JSON: {"calls":
                            [[{"name": …, "arguments": …}, …], …]} with a list for
                            each answer, "say" the text beside them, "final" the
                            last answer; by default, it tells the last results;
                            with "pause", it streams a word each so many
                            milliseconds;
                            with "fail": N, answer N is an error 400, once; with
                            "fail": "each", each is one of 500 first

It also speaks Chat Completions (/chat/completions) and Anthropic's Messages
(/messages), and streams all three when asked to.

A request with a JSON schema is answered with a value that fits it. With
--script FILE, a JSON object, inputs that are members of it are answered as the
model "tools" does, with the member as the script, or, if it is a string, by that; if null, never.

It logs JSON lines: each request with its time, number, headers and body, and
when its connection was closed before it was answered. GET /v1/last shows the
last request that was not this one.
"""

import argparse
import asyncio
import json
import os
import re
import resource
import ssl
import time

PARIS = "The capital of France is Paris."
ANSWERS = {
    "What is the capital of France?": PARIS,
    "What is the capital of France? Answer in one sentence.": PARIS,
    "What is the tallest mountain in the world? Answer in one sentence.":
        "Mount Everest is the tallest mountain in the world.",
    "What is the deepest ocean trench? Answer in one sentence.":
        "The Mariana Trench is the deepest ocean trench.",
    "What is the longest river in the world? Answer in one sentence.":
        "The Nile is the longest river in the world.",
    "Give me facts about Tokyo, Paris, and New York.": json.dumps({"cities": [
        {"city": "Tokyo", "country": "Japan", "population": "14 million",
         "fun_fact": "It has more than 150 railway lines."},
        {"city": "Paris", "country": "France", "population": "2 million",
         "fun_fact": "The Eiffel Tower was to stand for 20 years."},
        {"city": "New York", "country": "USA", "population": "8 million",
         "fun_fact": "More than 600 languages are spoken there."}]}),
}


# What is said to which input, as the file of --script has it.
SCRIPTS = {}


class ModelServer:
    def __init__(self, log_path):
        self.log_file = open(log_path, "a+", buffering=1) if log_path else None
        # One that is started anew gives no number twice.
        self.gate = (log_path or "") + ".gate"
        self.count = 0
        if self.log_file:
            self.log_file.seek(0)
            self.count = sum(1 for _ in self.log_file)
        self.failures = {}
        self.rates = {}
        self.open_connections = 0
        self.last = {}
        self.responses = {}

    def log(self, **fields):
        if self.log_file:
            fields["time"] = time.time()
            self.log_file.write(json.dumps(fields) + "\n")

    async def connection(self, reader, writer):
        self.open_connections += 1
        try:
            while await self.one_request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open_connections -= 1
            writer.close()

    async def one_request(self, reader, writer):
        """Returns whether the connection stays open."""
        line = await reader.readline()
        if not line:
            return False
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers = {}
        while True:
            line = await reader.readline()
            if line in (b"\r\n", b"\n", b""):
                break
            name, value = line.decode("latin-1").split(":", 1)
            headers[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))

        self.count += 1
        number = self.count
        try:
            request = json.loads(body)
        except ValueError:
            request = {}
        self.log(event="request", number=number, method=method, path=path,
                 headers=headers, body=request,
                 connection=id(writer), connections=self.open_connections)

        writer.note_answered = lambda: None
        if method == "GET" and path.endswith("/last"):
            return await reply(writer, 200, json.dumps(self.last).encode())
        if "/responses/" in path:
            return await self.background(method, path, writer)
        self.last = request
        writer.api = path.rsplit("/", 1)[-1]
        writer.number = number
        noted = []

        def note_answered():
            """Log the answer, once, before the client has all of it."""
            if not noted:
                self.log(event="answered", number=number)
            noted.append(True)

        writer.note_answered = note_answered
        answer = asyncio.ensure_future(self.answer(request, body, writer))
        # A client sends nothing before it has its answer, so whatever can be
        # read here is the end of the connection.
        closed = asyncio.ensure_future(reader.read(1))
        done, _ = await asyncio.wait({answer, closed},
                                     return_when=asyncio.FIRST_COMPLETED)
        if answer in done:
            keep = answer.result()
            closed.cancel()
            try:
                await closed
            except asyncio.CancelledError:
                pass
            note_answered()
            return keep
        answer.cancel()
        if not noted:
            self.log(event="closed", number=number)
        return False

    async def answer(self, request, raw, writer):
        model = str(request.get("model", ""))
        text = input_text(request)
        kind, *arguments = model.split("-")

        if writer.api == "messages" and calls_without_tools(request):
            return await reply(writer, 400, error_body("400"))
        if kind == "raw" and said_by_user(request):
            return await self.raw(text, int((arguments + [0])[0]), writer)
        if request.get("background") and kind != "misfit":
            whole = json.loads(response(request, "You said: " + text)
                               if kind != "tools" else
                               json.dumps(with_calls(request, "responses")))
            return await self.begin(json.dumps(whole),
                                    int(arguments[0]) / 1000, writer)
        if kind == "tools" or SCRIPTS and conversation(request)[0] in SCRIPTS:
            if kind == "tools" and arguments:
                await asyncio.sleep(int(arguments[0]) / 1000)
            elif SCRIPTS.get(conversation(request)[0], "") is None:
                await asyncio.sleep(3600)
            return await self.call_tools(request, writer)
        if request.get("stream") and kind in ("words", "break", "mute", "echo",
                                              "length", "unended"):
            return await self.stream(request, text, writer)
        if kind == "slow":
            await asyncio.sleep(int(arguments[0]) / 1000)
        elif kind in ("gate", "numbers"):
            while not os.path.exists(self.gate):
                await asyncio.sleep(0.05)
            if kind == "numbers":
                return await reply(writer, 200, b'{"numbers":[' +
                                   b"0," * int(arguments[0]) + b"0]," +
                                   response(request, text)[1:])
        elif kind == "stamp":
            await asyncio.sleep(int(arguments[0]) / 1000)
            text = str(writer.number)
        elif kind == "hang":
            await asyncio.sleep(3600)
        elif (kind == "status" or
              kind == "closed" and not os.path.exists(self.gate)):
            return await reply(writer, int(arguments[0]),
                               error_body(arguments[0]))
        elif kind == "rate":
            rate = int(arguments[0])
            left, at = self.rates.get(model, (rate / 10, 0))
            now = time.monotonic()
            left = min(left + (now - at) * rate, rate / 10)
            self.rates[model] = (left - 1 if left >= 1 else left, now)
            if left < 1:
                return await reply(writer, 429, error_body("429"))
        elif kind == "quota":
            return await reply(writer, 429, error_body(
                "429", "insufficient_quota"))
        elif kind == "html":
            return await reply(writer, int(arguments[0]),
                               b"<html><body>Bad <b>Gateway</b></body></html>",
                               "text/html")
        elif kind in ("flaky", "after"):
            limit = int(arguments[0]) if kind == "flaky" else 1
            if kind == "after" and len(arguments) > 2:
                limit = float("inf")
            seen = self.failures.get((model, text), 0)
            if seen < limit:
                self.failures[(model, text)] = seen + 1
                extra = {}
                if kind == "after":
                    extra["retry-after-ms"] = arguments[0]
                return await reply(writer, int(arguments[1]),
                                   error_body(arguments[1]), extra=extra)
            if kind == "flaky" and len(arguments) > 2:
                await asyncio.sleep(int(arguments[2]) / 1000)
        elif kind == "incomplete":
            return await reply(writer, 200, response(
                request, "Half an ans", status="incomplete",
                incomplete_details={"reason": "max_output_tokens"}))
        elif kind == "failed":
            return await reply(writer, 200, response(
                request, None, status="failed",
                error={"code": "server_error",
                       "message": "The model failed to generate."}))
        elif kind == "error":
            return await reply(writer, 200, error_body("200"))
        elif kind == "badjson":
            return await reply(writer, 200, b'{"object": "response", "out')
        elif kind == "empty":
            return await reply(writer, 200, b"")
        elif kind == "cut":
            full = response(request, "This never arrives")
            writer.write(head(200, "application/json", len(full)) +
                         full[:len(full) // 2])
            await writer.drain()
            return False
        elif kind == "drop":
            return False
        elif kind == "huge":
            text = "x" * (int(arguments[0]) * 1024)
            await asyncio.sleep(int((arguments + [0, 0])[1]) / 1000)
            return await reply(writer, 200, response(request, text))
        elif kind == "hostile":
            full = response(request, "nul MARK1 high MARK2 low MARK3 raw MARK4.")
            full = (full.replace(b"MARK1", b"\\u0000")
                    .replace(b"MARK2", b"\\ud800")
                    .replace(b"MARK3", b"\\udfff")
                    .replace(b"MARK4", b"\xff\xfe"))
            return await reply(writer, 200, full)
        elif kind == "deep":
            depth = int(arguments[0])
            return await reply(writer, 200,
                               b'{"object":"response","output":' +
                               b"[" * depth + b"]" * depth + b"}")
        elif kind == "redirect":
            return await reply(writer, 307, b"", extra={
                "location": "/v1/responses"})
        elif kind == "reasoning":
            return await reply(writer, 200, response(
                request, "42", reasoning=["First I think.", "Then I answer."]))
        elif kind == "misfit":
            told = sum("does not fit" in str(item.get("content"))
                       for item in request["input"])
            if told < int(arguments[0]):
                whole = response(request, '{"misfit": true}')
                if request.get("background"):
                    return await self.begin(whole, 0.1, writer)
                return await reply(writer, 200, whole)
        elif kind == "options":
            return await reply(writer, 200, response(request, raw.decode()))

        output_format = (request.get("text") or {}).get("format") or {}
        if text in ANSWERS:
            said = ANSWERS[text]
        elif output_format.get("type") == "json_schema":
            said = json.dumps(instance(output_format["schema"]))
        else:
            said = "You said: " + text
        return await reply(writer, 200, response(request, said, api=writer.api))

    async def raw(self, text, pause, writer):
        writer.write(head(200, "application/json", len(text.encode())))
        for line in text.splitlines(keepends=True):
            writer.write(line.encode())
            await writer.drain()
            await asyncio.sleep(pause / 1000 if line.strip() else 0)
        return True

    async def call_tools(self, request, writer):
        api = writer.api
        script, turn = script_of(request)
        fail = script.get("fail")
        failure = (script.get("id"), turn if fail == "each" else None)
        if fail in (turn, "each") and failure not in self.failures:
            self.failures[failure] = 1
            code = 500 if fail == "each" else 400
            return await reply(writer, code, error_body(str(code)))
        whole = with_calls(request, api)
        if not request.get("stream"):
            return await reply(writer, 200, json.dumps(whole).encode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")
        pause = script_of(request)[0].get("pause", 0) / 1000
        for event in events_of(whole, api, words_of if pause else halves):
            await asyncio.sleep(pause)
            data = event if isinstance(event, str) else json.dumps(event)
            block = ("data: %s\n\n" % data).encode()
            writer.write(b"%x\r\n" % len(block) + block + b"\r\n")
            await writer.drain()
        writer.note_answered()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def begin(self, text, seconds, writer):
        """Work on this response for so long."""
        whole = json.loads(text)
        self.responses[whole["id"]] = (time.time() + seconds, whole)
        return await reply(writer, 200, json.dumps(
            dict(whole, status="queued", output=[], usage=None)).encode())

    async def background(self, method, path, writer):
        """GET /responses/ID and POST /responses/ID/cancel."""
        name, *action = path.split("/responses/")[1].split("/")
        if name not in self.responses:
            return await reply(writer, 404, error_body("404"))
        ready, whole = self.responses[name]
        if action == ["cancel"] and "stubborn" in str(whole.get("model")):
            await asyncio.sleep(60)
        if action == ["cancel"] and ready > time.time():
            whole = dict(whole, status="cancelled", output=[], usage=None)
            self.responses[name] = (0, whole)
        elif ready > time.time():
            whole = dict(whole, status="in_progress", output=[], usage=None)
        return await reply(writer, 200, json.dumps(whole).encode())

    async def stream(self, request, text, writer):
        kind, *arguments = str(request["model"]).split("-")
        api = writer.api
        words = ("You said: " + text).split(" ")
        words = [word + " " for word in words[:-1]] + words[-1:]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")

        async def send(data, event=None):
            data = data if isinstance(data, str) else json.dumps(data)
            block = ("event: %s\n" % event if event else "") + \
                "data: %s\n\n" % data
            block = block.encode()
            writer.write(b"%x\r\n" % len(block) + block + b"\r\n")
            await writer.drain()

        whole = json.loads(response(request, "".join(words), api=api))
        if api == "messages":
            start = dict(whole, content=[], stop_reason=None)
            await send({"type": "message_start", "message": start}, "message_start")
            await send({"type": "ping"}, "ping")
        elif api == "responses":
            await send({"type": "response.created", "response": {"id": whole["id"]}},
                       "response.created")
        for number, word in enumerate(words):
            if api == "messages":
                await send({"type": "content_block_delta", "index": 0,
                            "delta": {"type": "text_delta", "text": word}},
                           "content_block_delta")
            elif api == "completions":
                await send({"id": whole["id"], "choices": [
                    {"index": 0, "delta": {"content": word},
                     "finish_reason": None}], "usage": None})
            else:
                await send({"type": "response.output_text.delta", "item_id": "msg_1",
                            "output_index": 0, "delta": word},
                           "response.output_text.delta")
            if kind == "words":
                await asyncio.sleep(int(arguments[0]) / 1000)
            elif kind == "mute":
                await asyncio.sleep(3600)
            elif kind == "break":
                seen = self.failures.get((request["model"], text), 0)
                if seen < int(arguments[0]):
                    self.failures[(request["model"], text)] = seen + 1
                    await asyncio.sleep(0.2)
                    return False
        if api == "messages":
            await send({"type": "message_delta", "delta": {
                "stop_reason": whole["stop_reason"]},
                "usage": whole["usage"]}, "message_delta")
            await send({"type": "message_stop"}, "message_stop")
        elif api == "completions":
            await send({"id": whole["id"], "choices": [
                {"index": 0, "delta": {},
                 "finish_reason": whole["choices"][0]["finish_reason"]}]})
            await send({"choices": [], "usage": whole["usage"]})
            await send("[DONE]")
        else:
            await send({"type": "response.completed", "response": whole},
                       "response.completed")
        writer.note_answered()
        if kind == "unended":
            await asyncio.sleep(3600 if arguments[0] == "hang" else 0.1)
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def instance(schema):
    """A value that fits a simple schema."""
    kind = schema.get("type")
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        return {name: instance(its)
                for name, its in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance(schema.get("items", {}))]
    return {"integer": 7, "number": 1.5, "boolean": True,
            "string": "text"}.get(kind)


def input_text(request):
    """What the last message says."""
    items = request.get("input") or request.get("messages")
    if isinstance(items, list) and items and isinstance(items[-1], dict):
        return str(items[-1].get("content", ""))
    return str(items)


def said_by_user(request):
    """Whether that is the user's."""
    items = request.get("input") or request.get("messages")
    return items[-1].get("role") == "user"


def response(request, text, status="completed", error=None,
             incomplete_details=None, reasoning=None, api="responses"):
    cut = request.get("model") == "length"
    if api == "completions":
        message = {"role": "assistant", "content": text}
        return json.dumps({
            "id": "chatcmpl-1", "object": "chat.completion",
            "model": request.get("model"), "choices": [
                {"index": 0, "message": message,
                 "finish_reason": "length" if cut else "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7,
                      "total_tokens": 18,
                      "prompt_tokens_details": {"cached_tokens": 2},
                      "completion_tokens_details": {"reasoning_tokens": 3}},
        }).encode()
    if api == "messages":
        return json.dumps({
            "id": "msg_1", "type": "message", "role": "assistant",
            "model": request.get("model"), "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "text", "text": text}],
            "stop_reason": "max_tokens" if cut else "end_turn",
            "usage": {"input_tokens": 8, "cache_creation_input_tokens": 1,
                      "cache_read_input_tokens": 2, "output_tokens": 7},
        }).encode()
    output = []
    if reasoning:
        output.append({"id": "rs_1", "type": "reasoning",
                       "summary": [{"type": "summary_text", "text": part}
                                   for part in reasoning]})
    if text is not None:
        output.append({
            "id": "msg_1", "type": "message", "role": "assistant",
            "status": status,
            "content": [{"type": "output_text", "text": text,
                         "annotations": []}]})
    return json.dumps({
        "id": "resp_%d" % time.time_ns(), "object": "response",
        "created_at": int(time.time()), "status": status, "error": error,
        "incomplete_details": incomplete_details,
        "model": request.get("model"), "output": output,
        "usage": {"input_tokens": 11,
                  "input_tokens_details": {"cached_tokens": 2},
                  "output_tokens": 7,
                  "output_tokens_details": {"reasoning_tokens": 3},
                  "total_tokens": 18},
    }).encode()


def conversation(request):
    """The last thing that the user says, the calls since then, and the results of
    the last answer's calls."""
    script, calls, results = "", 0, []
    for item in request.get("input") or request.get("messages"):
        content = item.get("content")
        blocks = content if isinstance(content, list) else []
        if item.get("type") == "function_call":
            calls, results = calls + 1, []
        elif item.get("type") == "function_call_output":
            results.append(item["output"])
        elif item.get("role") == "tool":
            results.append(content)
        elif blocks and blocks[0].get("type") == "tool_result":
            results = [block["content"] for block in blocks]
        elif item.get("role") == "user":
            script, calls, results = "".join(
                block["text"] for block in blocks) or str(content), 0, []
        elif item.get("role") == "assistant":
            made = len(item.get("tool_calls") or []) + sum(
                block.get("type") == "tool_use" for block in blocks)
            if made:
                calls, results = calls + made, []
    return script, calls, results


def calls_without_tools(request):
    """What Anthropic refuses."""
    return not request.get("tools") and any(
        isinstance(block, dict) and block.get("type") in ("tool_use", "tool_result")
        for message in request.get("messages", [])
        if isinstance(message.get("content"), list)
        for block in message["content"])


def script_of(request):
    """The script of a conversation, and how many of its answers were given."""
    text, made, _ = conversation(request)
    try:
        script = SCRIPTS[text] if text in SCRIPTS else json.loads(text)
    except ValueError:
        script = {}
    if isinstance(script, str):
        script = {"final": script}
    turns = script.get("calls", [])
    turn = 0
    while turn < len(turns) and made > 0:
        made -= len(turns[turn])
        turn += 1
    return script, turn


def with_calls(request, api):
    """The next answer that the script of a conversation asks for."""
    script, turn = script_of(request)
    results = conversation(request)[2]
    turns = script.get("calls", [])
    choice = request.get("tool_choice")
    may_call = request.get("tools") and choice not in ("none", {"type": "none"})
    calls = turns[turn] if turn < len(turns) and may_call else []
    if calls:
        said = (script.get("say", []) + [""] * len(turns))[turn]
    else:
        said = script.get("final", "Results: " + "; ".join(results))
    for number, call in enumerate(calls):
        call["id"] = "%d_%d" % (turn + 1, number + 1)
        if not isinstance(call.get("arguments", ""), str):
            call["arguments"] = json.dumps(call["arguments"])
    whole = json.loads(response(request, said, api=api))
    if not calls:
        return whole
    if api == "completions":
        whole["choices"][0] = {
            "index": 0, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": said or None, "tool_calls": [
                    {"id": "call_" + call["id"], "type": "function",
                     "function": {"name": call["name"],
                                  "arguments": call.get("arguments", "")}}
                    for call in calls]}}
    elif api == "messages":
        whole["stop_reason"] = "tool_use"
        whole["content"] = [{"type": "thinking", "thinking": "Hm %d." % turn,
                             "signature": "sig%d" % turn}]
        if said:
            whole["content"].append({"type": "text", "text": said})
        whole["content"] += [
            {"type": "tool_use", "id": "toolu_" + call["id"],
             "name": call["name"],
             "input": json.loads(call.get("arguments") or "{}")}
            for call in calls]
    else:
        whole["output"] = [{"id": "rs_%d" % turn, "type": "reasoning",
                            "summary": [], "encrypted_content": "ENC%d" % turn}]
        if said:
            whole["output"].append(
                {"id": "msg_%d" % turn, "type": "message", "role": "assistant",
                 "status": "completed", "content": [
                     {"type": "output_text", "text": said, "annotations": []}]})
        whole["output"] += [
            {"id": "fc_" + call["id"], "type": "function_call",
             "status": "completed", "call_id": "call_" + call["id"],
             "name": call["name"], "arguments": call.get("arguments", "")}
            for call in calls]
    return whole


def halves(text):
    return [text[:len(text) // 2], text[len(text) // 2:]]


def words_of(text):
    return re.findall(r"\S+\s*", text)


def events_of(whole, api, cut):
    """An answer as the events of a stream; cut() makes pieces of its text."""
    if api == "responses":
        yield {"type": "response.created", "response": {"id": whole["id"]}}
        for item in whole["output"]:
            if item["type"] == "message":
                for piece in cut(item["content"][0]["text"]):
                    yield {"type": "response.output_text.delta", "delta": piece}
            yield {"type": "response.output_item.done", "item": item}
        yield {"type": "response.completed", "response":
               dict(whole, output=[]) if whole["model"] == "tools-1" else whole}
    elif api == "completions":
        message = whole["choices"][0]["message"]
        for piece in cut(message["content"] or ""):
            yield {"id": whole["id"], "choices": [
                {"index": 0, "delta": {"content": piece}}]}
        for number, call in enumerate(message.get("tool_calls", [])):
            first = dict(call, index=number, function=dict(
                call["function"], arguments=""))
            yield {"choices": [{"index": 0, "delta": {"tool_calls": [first]}}]}
            for piece in halves(call["function"]["arguments"]):
                yield {"choices": [{"index": 0, "delta": {"tool_calls": [
                    {"index": number, "function": {"arguments": piece}}]}}]}
        yield {"choices": [{"index": 0, "delta": {}, "finish_reason":
                            whole["choices"][0]["finish_reason"]}]}
        yield {"choices": [], "usage": whole["usage"]}
        yield "[DONE]"
    else:
        yield {"type": "message_start",
               "message": dict(whole, content=[], stop_reason=None)}
        for number, block in enumerate(whole["content"]):
            kind = block["type"]
            empty = dict(block, **{"thinking": {"thinking": "", "signature": ""},
                                   "text": {"text": ""},
                                   "tool_use": {"input": {}}}[kind])
            yield {"type": "content_block_start", "index": number,
                   "content_block": empty}
            text = json.dumps(block["input"]) if kind == "tool_use" else block[kind]
            for piece in halves(text):
                yield {"type": "content_block_delta", "index": number, "delta": {
                    "thinking": {"type": "thinking_delta", "thinking": piece},
                    "text": {"type": "text_delta", "text": piece},
                    "tool_use": {"type": "input_json_delta",
                                 "partial_json": piece}}[kind]}
            if kind == "thinking":
                yield {"type": "content_block_delta", "index": number, "delta": {
                    "type": "signature_delta", "signature": block["signature"]}}
            yield {"type": "content_block_stop", "index": number}
        yield {"type": "message_delta",
               "delta": {"stop_reason": whole["stop_reason"]},
               "usage": whole["usage"]}
        yield {"type": "message_stop"}


def error_body(status, code="mock_error"):
    return json.dumps({"error": {
        "message": "mock error %s" % status, "type": "invalid_request_error",
        "param": None, "code": code}}).encode()


def head(status, content_type, length, extra=None):
    lines = ["HTTP/1.1 %d Status" % status, "Content-Type: " + content_type,
             "Content-Length: %d" % length]
    for name, value in (extra or {}).items():
        lines.append("%s: %s" % (name, value))
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def reply(writer, status, body, content_type="application/json",
                extra=None):
    writer.note_answered()
    writer.write(head(status, content_type, len(body), extra) + body)
    await writer.drain()
    return True


async def serve(arguments):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    mock = ModelServer(arguments.log)
    if arguments.script:
        with open(arguments.script) as file:
            SCRIPTS.update(json.load(file))
    tls = None
    if arguments.tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.tls_cert, arguments.tls_key)
    server = await asyncio.start_server(
        mock.connection, "127.0.0.1", arguments.port, backlog=4096, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    if arguments.port_file:
        with open(arguments.port_file + ".new", "w") as file:
            file.write("%d\n" % port)
        os.rename(arguments.port_file + ".new", arguments.port_file)
    else:
        print(port, flush=True)
    async with server:
        await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(
        description="A model server for tests: OpenAI's Responses API.")
    parser.add_argument("--port", type=int, default=0,
                        help="default: a free one")
    parser.add_argument("--port-file", help="where to write the port")
    parser.add_argument("--log", help="where to log requests")
    parser.add_argument("--script", help="what to say to which input")
    parser.add_argument("--tls-cert", help="speak https with this certificate")
    parser.add_argument("--tls-key", help="and this key")
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
