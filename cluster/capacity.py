"""How many connections a load balancer of some size carries."""

from __future__ import annotations

from typing import Final

MEMORY_PER_CONNECTION_KIB: Final = 60
"""HAProxy takes 37 KiB for an idle WSS connection (docs/benchmarks.md); the rest is for the kernel's buffers."""

WORKERS: Final = 2
"""After a reload the old worker keeps its streams while the new one may fill up: memory is counted for both."""

MEMORY_SHARE: Final = 0.75
"""The rest is for the system, HAProxy itself and the reserve."""

FILES_PER_CONNECTION: Final = 2
FILES_BESIDE: Final = 200
"""Listeners, health checks, sockets, logs."""

FILE_LIMIT: Final = 1_048_576
"""Linux's default fs.nr_open, the most that a service can be given. Fixed, since changing it restarts HAProxy."""

RESERVE: Final = 500
"""Connections that media may not take: statistics, certificate validations and redirects answer when media is full."""

MEDIA_MINIMUM: Final = 1000


def max_connections(memory_gib: int) -> int:
    """How many media connections an instance with this memory (GiB) carries, in whole thousands."""
    by_memory = int(memory_gib * 1024 * 1024 * MEMORY_SHARE / WORKERS / MEMORY_PER_CONNECTION_KIB)
    by_files = (FILE_LIMIT - FILES_BESIDE) // FILES_PER_CONNECTION - RESERVE
    return min(by_memory, by_files) // 1000 * 1000
