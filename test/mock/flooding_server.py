#!/usr/bin/env python3
"""A model server that sends without end what is no part of an answer. Over HTTP/1.1,
by the model: extension (of a chunk), chunks (of a blank), comments (of a stream), gzip (compressed nothing), ones-COUNT (not without
end: an answer of COUNT bytes, each a chunk), headers-COUNT (1,900 of them, once there are
COUNT requests, up to 100), nested (20 GB of nothing in 57 kB), and, once there have been
COUNT requests, answers of 15 MB: large-COUNT, pieces-COUNT (streamed), controls-COUNT (of
control characters, which JSON takes six bytes for). Nor is again: an answer, and a moment
later another one, to nothing; nor event-COUNT: one event of a stream, of COUNT MB of lists; nor broken-COUNT: COUNT kB of a stream that is whole, by a connection that
breaks. Neither
are those without end that are answers in codings: once (gzip), twice (in one header),
lines (of two headers), transfer (of the connection, not the content), zstd, nonsense. Over HTTP/2 (with a certificate and a
key): ping (frames that want an answer, before that of the request), empty (frames of
the body with nothing in them), closed (the first request on a connection is answered; from
the second on, headers of the answer to the first one), and any
other is answered. Over HTTP/1.1, but asked for TLS: requests to begin the handshake.

    flooding_server.py PORT_FILE [CERTIFICATE KEY]"""

import functools
import gzip
import json
import re
import socket
import ssl
import sys
import threading
import time
import zlib

from raw_server import (ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS,
                        frame, listen)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def answer(text):
    return json.dumps({
        "id": "resp_1", "object": "response", "status": "completed",
        "model": "flood", "error": None, "incomplete_details": None,
        "output": [{"type": "message", "id": "msg_1", "role": "assistant",
                    "status": "completed", "content": [
                        {"type": "output_text", "text": text,
                         "annotations": []}]}],
        "usage": {"input_tokens": 1, "output_tokens": 1,
                  "total_tokens": 2}}).encode()


# By model: a header, and how many times the answer is compressed.
CODINGS = {
    "once": (b"Content-Encoding: gzip", 1),
    "twice": (b"Content-Encoding: gzip, gzip", 2),
    "lines": (b"Content-Encoding: gzip\r\ncontent-encoding: GZIP", 2),
    "transfer": (b"Transfer-Encoding: gzip, chunked", 1),
    "zstd": (b"Content-Encoding: zstd", 0),
    "inflated": (b"Content-Encoding: gzip", 1),
    "nonsense": (b"Content-Encoding: gzip;q=1", 1),
}


def deflate(data):
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    return coder.compress(data) + coder.flush(zlib.Z_FULL_FLUSH)


def nested():
    """Empty blocks of deflate, compressed twice."""
    start = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"
    million = deflate(b"\0\0\0\xff\xff" * 200000)
    milliard = deflate(million * 1000)
    return start + deflate(start + deflate(start)) + milliard * 20


def flood(connection, piece):
    piece *= max(65536 // len(piece), 1)
    while True:
        connection.sendall(piece)


# Requests that wait for each other, by how many there are to be.
BARRIERS = {count: threading.Barrier(count) for count in (1, 400)}


# How many requests there have been, and answers that are large, by model.
COUNTED = threading.Condition()
COUNTS = {"large": 0, "pieces": 0, "controls": 0}


def pieces(count):
    """An answer as events, which have most of it, 10 kB each."""
    events = [{"type": "response.output_text.delta", "item_id": "msg_1",
               "output_index": 0, "delta": "x" * 10000}] * count
    events.append({"type": "response.completed",
                   "response": dict(json.loads(answer("")), output=[])})
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n"
                    for event in events)


@functools.lru_cache
def large(kind):
    if kind == "pieces":
        return pieces(1500)
    return answer("x" * 15000000 if kind == "large" else "\x01" * 2500000)


def serve_http1(connection):
    request = b""
    model = None
    while model is None:
        received = connection.recv(65536)
        if not received:
            return
        request += received
        if request[0] == 0x16:      # a handshake of TLS: to be asked for one again
            flood(connection, b"\x16\x03\x03\x40\x00" + b"\0" * 16384)
        model = re.search(rb'"model": ?"([a-z]+)-?(\d*)"', request)
    kind, count = model[1].decode(), int(model[2] or 0)
    if kind == "extension":
        connection.sendall(CHUNKED + b"5;")
        flood(connection, b"x")
    elif kind == "chunks":
        connection.sendall(CHUNKED)
        flood(connection, b"1\r\n \r\n")
    elif kind == "comments":
        connection.sendall(HEAD + b"\r\n")
        flood(connection, b": x\n")
    elif kind == "gzip":
        connection.sendall(HEAD + b"Content-Encoding: gzip\r\n\r\n"
                           b"\x1f\x8b\x08\0\0\0\0\0\0\x03")
        flood(connection, b"\0\0\0\xff\xff")
    elif kind == "headers":
        BARRIERS[count].wait()
        body = answer("many")
        connection.sendall(HEAD + b"Connection: close\r\n" + b"a:\r\n" * 1900 +
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return
    elif kind in COUNTS:
        with COUNTED:
            body = large(kind)
            COUNTS[kind] += 1
            COUNTED.notify_all()
            COUNTED.wait_for(lambda: COUNTS[kind] >= count)
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n"
                           % len(body))
        connection.sendall(body)
        return
    elif kind == "event":
        lists = b"[" * 700 + b"]" * 700 + b","
        connection.sendall(HEAD + b"Connection: close\r\n\r\n"
                           + b'data: {"type":"response.output_text.delta","lists":['
                           + lists * (count * 1000000 // len(lists)) + b"1]}\n\n")
        return
    elif kind == "broken":
        body = pieces(count // 10)
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) + 1)
                           + body)
        return
    elif kind == "again":
        for text in "first", "second":
            body = answer(text)
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            time.sleep(0.3)
    elif kind == "nested":
        connection.sendall(HEAD + b"Content-Encoding: gzip, gzip, gzip\r\n\r\n"
                           + nested())
    elif kind in CODINGS:
        header, times = CODINGS[kind]
        body = answer("x" * 5000000 if kind == "inflated" else kind)
        for _ in range(times):
            body = gzip.compress(body)
        chunk = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        if b"chunked" not in header:
            header += b"\r\nTransfer-Encoding: chunked"
        connection.sendall(HEAD + b"Connection: close\r\n" + header + b"\r\n\r\n"
                           + chunk)
        return
    else:
        body = answer("x" * (count - len(answer(""))))
        connection.sendall(CHUNKED + b"".join(
            b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    while connection.recv(65536):
        pass


class Http2:
    """One connection: what arrives is read here, floods have threads."""

    def __init__(self, connection):
        self.connection = connection
        self.lock = threading.Lock()
        self.received = b""
        self.floods = []            # threads

    def send(self, data):
        with self.lock:
            self.connection.sendall(data)

    def read(self, length):
        while len(self.received) < length:
            more = self.connection.recv(65536)
            if not more:
                raise OSError("closed")
            self.received += more
        data = self.received[:length]
        self.received = self.received[length:]
        return data

    def flood(self, piece):
        try:
            while True:
                self.send(piece * (16384 // len(piece)))
        except OSError:
            pass

    def respond(self, stream, body):
        model = re.search(rb'"model": ?"([a-z]+)"', body)[1]
        # 0x88 is ":status: 200".
        head = frame(HEADERS, END_HEADERS, stream, b"\x88")
        if model == b"ping":
            piece = frame(PING, 0, 0, b"12345678")
        elif model == b"empty":
            self.send(head)
            piece = frame(DATA, 0, stream)
        elif model == b"closed" and stream > 1:
            # 0x41 is ":authority" with a value, to be kept; here it is empty.
            piece = frame(HEADERS, END_HEADERS, 1, b"\x41\0" * 8000)
        else:
            self.send(head + frame(DATA, END_STREAM, stream, answer("well")))
            return
        self.floods.append(threading.Thread(target=self.flood, args=(piece,),
                                            daemon=True))
        self.floods[-1].start()

    def end(self):
        """Nothing is sent any more: the descriptor may be another connection's."""
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        for thread in self.floods:
            thread.join()

    def serve(self):
        bodies = {}
        self.read(24)
        self.send(frame(SETTINGS, 0, 0))
        while True:
            head = self.read(9)
            payload = self.read(int.from_bytes(head[:3], "big"))
            kind, flags = head[3], head[4]
            stream = int.from_bytes(head[5:], "big")
            if kind == SETTINGS and not flags & ACK:
                self.send(frame(SETTINGS, ACK, 0))
            if kind == DATA:
                bodies[stream] = bodies.get(stream, b"") + payload
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                self.respond(stream, bodies.pop(stream, b""))


def serve(connection, context):
    try:
        if context is None:
            serve_http1(connection)
        else:
            with context.wrap_socket(connection, server_side=True) as tls:
                http2 = Http2(tls)
                try:
                    http2.serve()
                finally:
                    http2.end()
    except OSError:
        pass
    finally:
        connection.close()


def main():
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        context.set_alpn_protocols(["h2"])
    listen(sys.argv[1], serve, context)


main()
