#!/usr/bin/env python3
"""A model server that demands back what it told beside its calls, as DeepSeek and Gemini do (a
model called demands-*), or refuses what it does not know, as Mistral does (any other)."""
import argparse
import http.server
import json

CALL = {"id": "t1", "type": "function", "function": {"name": "noon", "arguments": "{}"}}
BESIDE = {"extra_content": {"google": {"thought_signature": "SIG"}}}


def answer(body):
    demands = body["model"].startswith("demands")
    known = {"role", "content", "tool_calls", "tool_call_id"}
    messages = body["messages"]
    for message in messages:
        calls = message.get("tool_calls") or []
        if demands and calls and (message.get("reasoning_content") != "I need the time." or
                                  any(call.get("extra_content") != BESIDE["extra_content"] for call in calls)):
            return 400, {"error": {"message": "What was told must be passed back"}}
        if not demands and (set(message) - known or any(set(call) - set(CALL) for call in calls)):
            return 422, {"error": {"message": "Extra inputs are not permitted"}}
    if messages[-1]["role"] == "tool":
        message = {"role": "assistant", "content": "done"}
    else:
        message = {"role": "assistant", "content": "", "tool_calls": [dict(CALL, **(BESIDE if demands else {}))]}
        if demands:
            message["reasoning_content"] = "I need the time."
    return 200, message


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, said = answer(body)
        if status == 200:
            streamed = body.get("stream")
            choice = {"index": 0, "delta" if streamed else "message": said, "finish_reason": "stop"}
            for number, call in enumerate(said.get("tool_calls", []) if streamed else []):
                call["index"] = number
            said = {"id": "c", "choices": [choice]}
            text = "data: %s\n\ndata: [DONE]\n\n" % json.dumps(said) if streamed else json.dumps(said)
            kind = "text/event-stream" if streamed else "application/json"
        else:
            text, kind = json.dumps(said), "application/json"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


parser = argparse.ArgumentParser()
parser.add_argument("port_file")
arguments = parser.parse_args()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(arguments.port_file, "w") as file:
    file.write("%d\n" % server.server_port)
server.serve_forever()
