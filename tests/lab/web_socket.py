"""web_socket.py URL: sends Ant Media Server's ping and prints the answer. The certificate is not checked."""

from __future__ import annotations

import asyncio
import ssl
import sys

# Not the one with threads: Python 3.11's TLS 1.3 loses a request now and then when another thread reads meanwhile.
from websockets.asyncio.client import connect

trusting = ssl.create_default_context()
trusting.check_hostname = False
trusting.verify_mode = ssl.CERT_NONE


async def ping(url: str) -> None:
    async with connect(url, ssl=trusting, open_timeout=60) as connection, asyncio.timeout(60):
        await connection.send('{"command": "ping"}')
        print(await connection.recv())


asyncio.run(ping(sys.argv[1]))
