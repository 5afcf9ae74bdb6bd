"""What servers share that speak a protocol themselves, to break its rules."""

import os
import socket
import threading

# HTTP/2: types of frames, and flags
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return (len(payload).to_bytes(3, "big") + bytes([kind, flags])
            + stream.to_bytes(4, "big") + payload)


def listen(path, serve, *arguments):
    """Have each connection to a port, which the file at this path tells, served by a
    thread; for ever."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    with open(path + ".new", "w") as port_file:
        print(listener.getsockname()[1], file=port_file)
    os.rename(path + ".new", path)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, *arguments),
                         daemon=True).start()
