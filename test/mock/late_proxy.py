#!/usr/bin/env python3
"""Connects whoever comes to a port of this machine, a while after he has come.

late_proxy.py PORT SECONDS writes the port that it listens at to PORT_FILE, the third
argument. The first packets of a client wait meanwhile, as at a server with much to do.
"""
import asyncio
import sys

PORT, SECONDS, PORT_FILE = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]


async def copy(reader, writer):
    """Pass on what one side says, until it has said all."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def connect(reader, writer):
    await asyncio.sleep(SECONDS)
    behind = await asyncio.open_connection("127.0.0.1", PORT)
    await asyncio.gather(copy(reader, behind[1]), copy(behind[0], writer))


async def main():
    server = await asyncio.start_server(connect, "127.0.0.1", 0, backlog=1000)
    with open(PORT_FILE, "w", encoding="ascii") as file:
        file.write(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


asyncio.run(main())
