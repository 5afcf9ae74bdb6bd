#!/usr/bin/env python3
"""A model server that repeats the key it was given: in an error (model
status-401), in an answer, and in a streamed one; and one that says nonsense about
tokens (model tokens-N, with the N-th of some claims), or streams a long answer
(model long-PIECES). OpenAI's Responses API. The argument is the file that is to
hold its port."""

import http.server
import json
import os
import sys
import time

CLAIMS = [8000000000000000000, -5, 1.5, 1e300, "many", None, True,
          10 ** 30]


def response(model, text, usage, status="completed"):
    return {
        "id": "resp_1", "object": "response", "status": status,
        "model": model, "error": None, "incomplete_details": None,
        "output": [{"type": "message", "id": "msg_1", "role": "assistant",
                    "status": "completed", "content": [
                        {"type": "output_text", "text": text,
                         "annotations": []}]}],
        "usage": usage}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def send(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def event(self, kind, **fields):
        data = json.dumps(dict(fields, type=kind))
        self.wfile.write(f"event: {kind}\ndata: {data}\n\n".encode())
        self.wfile.flush()

    def stream(self, model, pieces, pause):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in pieces:
            self.event("response.output_text.delta", delta=piece,
                       item_id="msg_1", output_index=0, content_index=0)
            time.sleep(pause)
        self.event("response.completed",
                   response=response(model, "".join(pieces), {
                       "input_tokens": 1, "output_tokens": 1,
                       "total_tokens": 2}))
        self.close_connection = True

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        request = json.loads(self.rfile.read(length))
        key = self.headers.get("Authorization", "")
        model = request["model"]
        if model.startswith("status-"):
            # also across the place where long messages are cut
            self.send(int(model[7:10]), {"error": {
                "message": f"Incorrect {'x' * (3985 - len(key))} {key} yyyyy"
                if model.endswith("-long") else
                f"Incorrect API key provided: {key}"}})
        elif model.startswith("long-"):
            self.stream(model, ["x" * 250] * int(model[5:]), 0.01)
        elif request.get("stream"):
            pieces = ["Your key is ", key, "."]
            if model == "dribble":
                pieces = ["Your key is "] + list(key) + ["."]
            self.stream(model, pieces, 0.2 if model == "dribble" else 0)
        elif model.startswith("tokens-"):
            claim = CLAIMS[int(model[7:]) % len(CLAIMS)]
            self.send(200, response(model, "hello", {
                "input_tokens": claim, "output_tokens": claim,
                "total_tokens": claim,
                "input_tokens_details": {"cached_tokens": claim},
                "output_tokens_details": {"reasoning_tokens": claim}}))
        else:
            self.send(200, response(model, f"Your key is {key}.", {
                "input_tokens": 1, "output_tokens": 1, "total_tokens": 2}))


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[1] + ".new", "w") as file:
    print(server.server_port, file=file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
