#!/usr/bin/env python3
"""A server with three addresses, of which two never accept a connection: 127.0.0.2 and
127.0.0.3. The third one, 127.0.0.1, does so six seconds after a file PORT_FILE.go is
there; and says, instead of shaking hands, that a handshake is to begin, without end for
SECONDS.

    late_server.py PORT_FILE SECONDS"""

import os
import socket
import sys
import time

PORT_FILE, SECONDS = sys.argv[1], float(sys.argv[2])


def fill(listener):
    """Connections that nobody accepts: no more have a place."""
    clients = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        clients.append(client)
    return clients


last = socket.create_server(("127.0.0.1", 0), backlog=0)
port = last.getsockname()[1]
listeners = [last] + [socket.create_server((host, port), backlog=0)
                      for host in ("127.0.0.2", "127.0.0.3")]
clients = [fill(listener) for listener in listeners]
with open(PORT_FILE + ".new", "w", encoding="ascii") as port_file:
    print(port, file=port_file)
os.rename(PORT_FILE + ".new", PORT_FILE)

while not os.path.exists(PORT_FILE + ".go"):
    time.sleep(0.01)
time.sleep(6)
ours = {client.getsockname() for client in clients[0]}
while True:
    connection, peer = last.accept()
    if peer not in ours:
        break
until = time.time() + SECONDS
try:
    while time.time() < until:
        connection.sendall(b"\x16\x03\x03\x40\x00" + b"\0" * 16384)
except OSError:
    pass
