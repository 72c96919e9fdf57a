"""The machine's limits that many hosts meet at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

INOTIFY_INSTANCES: Final = Path("/proc/sys/fs/inotify/max_user_instances")
"""systemd on a host takes about seven, and all hosts' root is one user here. With Linux's 128 the 19th host does not
boot: "Failed to allocate manager object: Too many open files" on its console."""

ENOUGH: Final = 2048


def raise_limits(file: Path = INOTIFY_INSTANCES) -> None:
    """Raise what is too low, for as long as the machine runs; nothing is ever lowered."""
    if file.exists() and int(file.read_text()) < ENOUGH:
        file.write_text(f"{ENOUGH}\n")
