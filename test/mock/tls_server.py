#!/usr/bin/env python3
"""A model server that floods with what TLS has to say beside data, a hundred thousand
messages a second, for some seconds or until the connection is closed: tickets, or with
"hello" TLS 1.2's requests for another handshake, on a connection of HTTP/2. By the model:
now (instead of an answer), idle (after an answer, on the idle connection). With "bytes",
by HTTP/2: idle is two connections, on each of which a ticket in a hundred thousand records
follows the answer once there is a file PORT_FILE.go, and then a file PORT_FILE.full.* when
as much of them has been sent as may be; resets is told how many have been reset. TLS has
no way to be asked for that: the records are made here, with the keys of the session.

    tls_server.py PORT_FILE CERTIFICATE KEY SECONDS [hello|bytes]"""

import ctypes
import ctypes.util
import hmac
import json
import os
import re
import ssl
import struct
import sys
import tempfile
import threading
import time

from raw_server import (ACK, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame,
                        listen)



def response(text):
    return json.dumps({
        "id": "resp_1", "object": "response", "status": "completed", "model": "idle",
        "output": [{"type": "message", "content": [
            {"type": "output_text", "text": text}]}]}).encode()


# Types of records
CHANGE_CIPHER, HANDSHAKE, APPLICATION_DATA = 20, 22, 23

GET_TAG, TAG_SIZE = 16, 16
crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
crypto.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
crypto.EVP_aes_256_gcm.restype = ctypes.c_void_p


def seal(key, nonce, head, text):
    """What text is, encrypted and authenticated with head."""
    context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    sealed = ctypes.create_string_buffer(len(text))
    tag = ctypes.create_string_buffer(TAG_SIZE)
    length = ctypes.c_int()
    crypto.EVP_EncryptInit_ex(context, ctypes.c_void_p(crypto.EVP_aes_256_gcm()),
                              None, key, nonce)
    crypto.EVP_EncryptUpdate(context, None, ctypes.byref(length), head, len(head))
    crypto.EVP_EncryptUpdate(context, sealed, ctypes.byref(length), text, len(text))
    crypto.EVP_EncryptFinal_ex(context, tag, ctypes.byref(length))
    crypto.EVP_CIPHER_CTX_ctrl(context, GET_TAG, TAG_SIZE, tag)
    crypto.EVP_CIPHER_CTX_free(context)
    return sealed.raw + tag.raw


def expand(secret, label, length):
    """HKDF-Expand-Label of RFC 8446, for what takes one block."""
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + b"\0\1"
    return hmac.digest(secret, info, "sha384")[:length]


def prf(secret, label, seed, length):
    """The pseudo-random function of TLS 1.2 with SHA-384."""
    seed = label + seed
    block, result = seed, b""
    while len(result) < length:
        block = hmac.digest(secret, block, "sha384")
        result += hmac.digest(secret, block + seed, "sha384")
    return result[:length]


class Session:
    """One connection, whose server speaks TLS without the socket; over HTTP/1.1."""

    MESSAGE = struct.pack(">IIIBHcH", 4 << 24 | 14, 7200, 1, 0, 1, b"x", 0)

    def __init__(self, connection, certificate, key):
        self.connection = connection
        self.received, self.ours = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.sequence = 0           # of the next record, after the handshake
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.choose()
        with tempfile.NamedTemporaryFile() as keys:
            self.context.keylog_filename = keys.name
            self.tls = self.context.wrap_bio(self.received, self.ours,
                                             server_side=True)
            self.until_done(self.tls.do_handshake)
            self.find_key(keys.read())

    def choose(self):
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0

    def find_key(self, keys):
        secret = re.search(rb"SERVER_TRAFFIC_SECRET_0 \S+ (\S+)", keys)
        secret = bytes.fromhex(secret[1].decode())
        self.key, self.iv = expand(secret, b"key", 32), expand(secret, b"iv", 12)

    def send(self):
        self.connection.sendall(self.ours.read())

    def until_done(self, function, *arguments):
        while True:
            try:
                done = function(*arguments)
                self.send()
                return done
            except ssl.SSLWantReadError:
                self.send()
                self.received.write(self.receive())

    def receive(self):
        data = self.connection.recv(65536)
        if not data:
            raise OSError("closed")
        return data

    def read(self):
        return self.until_done(self.tls.read, 65536)

    def write(self, data):
        self.tls.write(data)
        self.send()
        self.sequence += 1

    def record(self, messages):
        text = messages + bytes([HANDSHAKE])
        head = struct.pack(">BHH", APPLICATION_DATA, 0x303, len(text) + TAG_SIZE)
        nonce = bytes(a ^ b for a, b in zip(
            self.iv, self.sequence.to_bytes(len(self.iv), "big")))
        return head + seal(self.key, nonce, head, text)

    def flood(self, seconds):
        messages = self.MESSAGE * (16000 // len(self.MESSAGE))
        until = time.time() + seconds
        while time.time() < until:
            self.connection.sendall(self.record(messages))
            self.sequence += 1

    def read_model(self):
        request = b""
        model = None
        while model is None:
            request += self.read()
            model = re.search(rb'"model": ?"([a-z]+)"', request)
        return model[1]

    def serve(self, seconds):
        if self.read_model() == b"idle":
            self.answer("well")
        self.flood(seconds)

    def answer(self, text):
        body = response(text)
        self.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                   b"Content-Length: %d\r\n\r\n" % len(body) + body)


class OldSession(Session):
    """TLS 1.2 and HTTP/2."""

    MESSAGE = bytes(4)              # a HelloRequest

    def choose(self):
        self.random = None          # the server's
        self.changed = False        # what is sent is encrypted
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_TICKET
        self.context.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")
        self.context.set_alpn_protocols(["h2"])

    def find_key(self, keys):
        client, secret = re.search(rb"CLIENT_RANDOM (\S+) (\S+)", keys).groups()
        block = prf(bytes.fromhex(secret.decode()), b"key expansion",
                    self.random + bytes.fromhex(client.decode()), 72)
        self.key, self.iv = block[32:64], block[68:72]
        self.write(frame(SETTINGS, 0, 0))

    def send(self):
        data = self.ours.read()
        at = 0
        while at < len(data) and (self.random is None or not self.changed
                                  or self.sequence == 0):
            if self.random is None and data[at] == HANDSHAKE:
                self.random = data[at + 11:at + 43]
            self.sequence += self.changed
            self.changed |= data[at] == CHANGE_CIPHER
            at += 5 + int.from_bytes(data[at + 3:at + 5], "big")
        self.connection.sendall(data)

    def record(self, messages):
        sequence = self.sequence.to_bytes(8, "big")
        head = struct.pack(">BH", HANDSHAKE, 0x303)
        sealed = seal(self.key, self.iv + sequence,
                      sequence + head + struct.pack(">H", len(messages)), messages)
        return head + struct.pack(">H", 8 + len(sealed)) + sequence + sealed

    def answer(self, text):
        # 0x88 is ":status: 200".
        self.write(frame(SETTINGS, ACK, 0) + frame(HEADERS, END_HEADERS, 1, b"\x88")
                   + frame(DATA, END_STREAM, 1, response(text)))


class ByteSession(Session):
    """HTTP/2, and records of one byte."""

    both = threading.Barrier(2)
    resets = threading.Semaphore(0)
    # half of it is in an extension that nobody knows
    MESSAGE = (struct.pack(">IIIBH", 4 << 24 | 130017, 7200, 1, 0, 65000)
               + bytes(65000) + struct.pack(">HHH", 65004, 4711, 65000) + bytes(65000))

    answer = OldSession.answer

    def choose(self):
        super().choose()
        self.context.set_alpn_protocols(["h2"])

    def find_key(self, keys):
        super().find_key(keys)
        # 3 is SETTINGS_MAX_CONCURRENT_STREAMS
        self.write(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 1)))

    def make_records(self):
        """What follows the answer, which is a record as well."""
        answer = self.sequence
        records = []
        for byte in self.MESSAGE:
            self.sequence += 1
            records.append(self.record(bytes([byte])))
        self.sequence = answer
        return b"".join(records)

    def flood(self, seconds, records):
        while not os.path.exists(sys.argv[1] + ".go"):
            time.sleep(0.01)
        self.connection.settimeout(0.2)
        while records:
            try:
                records = records[self.connection.send(records):]
            except TimeoutError:
                break
        open(f"{sys.argv[1]}.full.{id(self)}", "w").close()
        self.connection.settimeout(seconds)
        self.connection.sendall(records)
        while True:
            self.receive()

    def serve(self, seconds):
        if self.read_model() == b"idle":
            open(f"{sys.argv[1]}.asked", "w").close()
            records = self.make_records()
            self.both.wait(8 * seconds)
            self.answer("well")
            try:
                self.flood(seconds, records)
            except ConnectionError:
                self.resets.release()
        else:
            resets = sum(self.resets.acquire(timeout=seconds) for _ in range(2))
            self.answer(f"{resets} resets")
            self.receive()


KINDS = {"hello": OldSession, "bytes": ByteSession}


def serve(connection):
    try:
        kind = KINDS[sys.argv[5]] if len(sys.argv) > 5 else Session
        kind(connection, sys.argv[2], sys.argv[3]).serve(float(sys.argv[4]))
    except (OSError, threading.BrokenBarrierError):
        pass
    finally:
        connection.close()


listen(sys.argv[1], serve)
