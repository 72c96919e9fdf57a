"""Plugins that have outlived their engine.

The engine starts every plugin in a process group of its own. When it is killed they go on: a request that had begun is
repeated, waited for and finished, and what it makes nobody hears of. Linux only; elsewhere none are found.
"""

from __future__ import annotations

import os
import re
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROGRAM: Final = re.compile(r"pulumi-resource-[a-z-]+|pulumi-language-[a-z-]+")
PATIENCE_SECONDS: Final = 3.0


def orphans(project: Path, backend: str | None) -> Iterator[int]:
    """The plugins without an engine that worked on this project with this PULUMI_BACKEND_URL, by process id."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            program = (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            if not _PROGRAM.fullmatch(Path(program).name) or (entry / "cwd").resolve() != project:
                continue
            environment = dict(
                item.split("=", 1)
                for item in (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                if "=" in item
            )
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if environment.get("PULUMI_BACKEND_URL") == backend and not _is_pulumi(parent):
                yield int(entry.name)
        except (OSError, IndexError):
            continue  # it has ended meanwhile, or is somebody else's


def _is_pulumi(pid: int) -> bool:
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return False
    return Path(program.decode(errors="replace")).name.startswith("pulumi")


def end(pid: int) -> None:
    """End a process: asked first, then not. One that is gone is no error."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], PATIENCE_SECONDS)[0]:
                return
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
