#!/usr/bin/env python3
"""A model server that floods with tickets of TLS, a hundred thousand a second, for some
seconds or until the connection is closed. By the model: now (instead of an answer), idle
(after an answer, on the idle connection). TLS has no way to be asked for that: the records
are made here, with the keys of the session.

    ticket_server.py PORT_FILE CERTIFICATE KEY SECONDS"""

import ctypes
import ctypes.util
import hmac
import json
import os
import re
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time

ANSWER = json.dumps({
    "id": "resp_1", "object": "response", "status": "completed", "model": "idle",
    "output": [{"type": "message", "content": [
        {"type": "output_text", "text": "well"}]}]}).encode()

# Types of records
HANDSHAKE, APPLICATION_DATA = 22, 23

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


class Session:
    """One connection, whose server speaks TLS without the socket."""

    def __init__(self, connection, certificate, key):
        self.connection = connection
        self.received, self.ours = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.sequence = 0           # of the next record, after the handshake
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        with tempfile.NamedTemporaryFile() as keys:
            context.keylog_filename = keys.name
            self.tls = context.wrap_bio(self.received, self.ours,
                                        server_side=True)
            self.until_done(self.tls.do_handshake)
            secret = re.search(rb"SERVER_TRAFFIC_SECRET_0 \S+ (\S+)", keys.read())
        secret = bytes.fromhex(secret[1].decode())
        self.key, self.iv = expand(secret, b"key", 32), expand(secret, b"iv", 12)

    def until_done(self, function, *arguments):
        while True:
            try:
                done = function(*arguments)
                self.connection.sendall(self.ours.read())
                return done
            except ssl.SSLWantReadError:
                self.connection.sendall(self.ours.read())
                self.received.write(self.receive())

    def receive(self):
        data = self.connection.recv(65536)
        if not data:
            raise OSError("closed")
        return data

    def write(self, data):
        self.tls.write(data)
        self.connection.sendall(self.ours.read())
        self.sequence += 1

    def flood(self, seconds):
        ticket = struct.pack(">IIIBHcH", 4 << 24 | 14, 7200, 1, 0, 1, b"x", 0)
        text = ticket * (16000 // len(ticket)) + bytes([HANDSHAKE])
        head = struct.pack(">BHH", APPLICATION_DATA, 0x303, len(text) + TAG_SIZE)
        until = time.time() + seconds
        while time.time() < until:
            nonce = bytes(a ^ b for a, b in zip(
                self.iv, self.sequence.to_bytes(len(self.iv), "big")))
            self.connection.sendall(head + seal(self.key, nonce, head, text))
            self.sequence += 1

    def serve(self, seconds):
        request = b""
        model = None
        while model is None:
            request += self.until_done(self.tls.read, 65536)
            model = re.search(rb'"model": ?"([a-z]+)"', request)
        if model[1] == b"idle":
            self.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
        self.flood(seconds)


def serve(connection):
    try:
        Session(connection, sys.argv[2], sys.argv[3]).serve(float(sys.argv[4]))
    except OSError:
        pass
    finally:
        connection.close()


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    with open(sys.argv[1] + ".new", "w") as port_file:
        print(listener.getsockname()[1], file=port_file)
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
