"""A node's place in a cluster: its entry in the database, the streams that it has, and who has the others."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .records import DatabaseError, Registry

UPDATE_SECONDS = 5.0
"""How often a node says that it is alive: ClusterNode.NODE_UPDATE_PERIOD."""

ALIVE_SECONDS = 4 * UPDATE_SECONDS
"""What has not been updated for longer is dead: ClusterNode.getStatus for nodes, STREAM_TIMEOUT_MS for streams."""

ORIGIN_PORT = 5000
"""Where nodes fetch streams from one another: server.origin_port."""

KNOWN_SECONDS = 1.0
"""How long a node believes what it was told about a stream before it asks again."""


class Cluster:
    """This node among the others. `clock` tells the seconds since the epoch."""

    def __init__(
        self, registry: Registry, instance_id: str, address: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.registry = registry
        self.address = address
        self.node_id = instance_id + address
        self.own: set[str] = set()
        """The streams that are published on this node."""
        self._clock = clock
        self._known: dict[str, tuple[float, str]] = {}  # stream -> when it was asked for, its origin
        self._outage = ""
        self._load = Load()

    async def join(self) -> None:
        """Registers the node, which has no stream yet. Raises DatabaseError."""
        await self.registry.drop_streams(self.address)
        await self.update()

    async def stay(self) -> None:
        """Keeps the node registered for ever; says once why it cannot, and once that it can again."""
        while True:
            await asyncio.sleep(UPDATE_SECONDS)
            try:
                await self.update()
            except DatabaseError as error:
                if str(error) != self._outage:
                    self._outage = str(error)
                    say(f"not updated in the node list: {error}")
            else:
                if self._outage:
                    self._outage = ""
                    say("updated in the node list again")

    async def leave(self) -> None:
        """Takes the node's streams out. Its entry stays and is dead after a while, as when the host dies."""
        try:
            await self.registry.drop_streams(self.address)
        except DatabaseError as error:
            say(f"its streams stay listed until they are too old: {error}")

    async def update(self) -> None:
        """Says that the node and its streams are alive. Raises DatabaseError."""
        cpu, memory = self._load.measure()
        entry = {"id": self.node_id, "ip": self.address, "lastUpdateTime": self._now_ms(), "cpu": cpu, "memory": memory}
        await self.registry.write_node({**entry, "dbQueryAveargeTimeMs": round(self.registry.milliseconds)})
        for stream_id in sorted(self.own):
            await self.registry.keep_stream(stream_id, self.address, self._now_ms())

    async def nodes(self) -> list[dict[str, Any]]:
        """All nodes that ever registered and were not deleted, with their status. Raises DatabaseError."""
        return [
            {**node, "status": "alive" if self._is_fresh(node["lastUpdateTime"]) else "dead"}
            for node in await self.registry.nodes()
        ]

    async def published(self, stream_id: str) -> None:
        """A stream's publisher has come to this node. Without the database it is known here only, until an update."""
        self.own.add(stream_id)
        try:
            await self.registry.take_stream(stream_id, self.address, self._now_ms())
        except DatabaseError as error:
            say(f"stream {stream_id} is not listed yet: {error}")

    async def ended(self, stream_id: str) -> None:
        """The publisher has gone."""
        self.own.discard(stream_id)
        self._known.pop(stream_id, None)
        try:
            await self.registry.drop_stream(stream_id, self.address)
        except DatabaseError as error:
            say(f"stream {stream_id} stays listed until it is too old: {error}")

    async def origin(self, stream_id: str) -> str:
        """The address of the node that has a stream, or nothing. While the database is away, where it last was."""
        asked, origin = self._known.get(stream_id, (0.0, ""))
        if origin and abs(self._clock() - asked) < KNOWN_SECONDS:
            return origin
        try:
            found = await self.registry.stream(stream_id)
        except DatabaseError:
            return origin
        if found is None or not self._is_fresh(found["updateTime"]):
            self._known.pop(stream_id, None)
            return ""
        origin = str(found["originAdress"])
        self._known[stream_id] = (self._clock(), origin)
        return origin

    async def streams(self) -> list[dict[str, Any]]:
        """The entries of all streams that are being published. Raises DatabaseError."""
        return [each for each in await self.registry.streams() if self._is_fresh(each["updateTime"])]

    def _is_fresh(self, time_ms: int) -> bool:
        return self._now_ms() - time_ms <= ALIVE_SECONDS * 1000

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


class Load:
    """The machine's load since it was last measured."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._before = self._jiffies()

    def measure(self) -> tuple[str, str]:
        """CPU in percent and used/all memory in MB, as texts, as a node's entry has them."""
        before, self._before = self._before, self._jiffies()
        busy, everything = (now - then for now, then in zip(self._before, before, strict=True))
        cpu = round(100 * busy / everything) if everything else 0
        lines = (line.split() for line in (self._proc / "meminfo").read_text().splitlines())
        kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
        total = kilobytes["MemTotal"]
        return str(cpu), f"{(total - kilobytes['MemAvailable']) // 1024}/{total // 1024}"

    def _jiffies(self) -> tuple[int, int]:
        """Time that was spent on work, and all time."""
        first, _, _ = (self._proc / "stat").read_text().partition("\n")
        user, nice, system, idle, waiting, *more = map(int, first.split()[1:9])
        busy = user + nice + system + sum(more)
        return busy, busy + idle + waiting


def say(text: str) -> None:
    """A line for the journal."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)
