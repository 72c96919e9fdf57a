"""scan.py FIRST LAST ADDRESS: the open TCP ports of ADDRESS, as JSON. A bounded number is tried at once."""

from __future__ import annotations

import asyncio
import json
import sys

WORKERS = 1000
PATIENCE_SECONDS = 1.0


async def is_open(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), PATIENCE_SECONDS)
    except (TimeoutError, OSError):
        return False
    writer.close()
    return True


async def scan(address: str, first: int, last: int) -> list[int]:
    waiting = list(range(last, first - 1, -1))
    found: list[int] = []

    async def work() -> None:
        while waiting:
            port = waiting.pop()
            if await is_open(address, port):
                found.append(port)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return sorted(found)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(scan(sys.argv[3], int(sys.argv[1]), int(sys.argv[2])))))
