"""say_who.py PORT…: on each port, over TCP and UDP, tells whoever comes which address and port it comes from."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast


class SayWho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        self.transport.sendto(f"{address[0]} {address[1]}\n".encode(), address)


async def say_who(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    address = writer.get_extra_info("peername")
    writer.write(f"{address[0]} {address[1]}\n".encode())
    await writer.drain()
    await asyncio.sleep(0 if (await reader.read(1)) == b"" else 60)
    writer.close()


async def main() -> None:
    loop = asyncio.get_running_loop()
    for port in map(int, sys.argv[1:]):
        await asyncio.start_server(say_who, "0.0.0.0", port)
        await loop.create_datagram_endpoint(SayWho, ("0.0.0.0", port))
    await asyncio.Event().wait()


asyncio.run(main())
