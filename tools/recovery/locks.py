"""Who holds the lock of a stack's backend.

A backend of files or in S3 keeps a small JSON file for each lock, below `.pulumi/locks`. Pulumi Cloud tells only that
an update is under way.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlparse

CLOCK_SECONDS: Final = 60.0
"""How far the machine's clock may have been put right since it started; processes count from there."""


@dataclass(frozen=True)
class Lock:
    """One lock, and who took it: what of this is known."""

    host: str | None = None
    user: str | None = None
    pid: int | None = None
    since: datetime | None = None

    @property
    def is_of_this_machine(self) -> bool:
        return self.host == socket.gethostname() and self.pid is not None

    @property
    def is_held(self) -> bool:
        """Whether its process still runs on this machine, and is not another one that was given the same number."""
        if self.pid is None or not self.is_of_this_machine or not _exists(self.pid):
            return False
        try:
            program = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            started = _started(self.pid)
        except OSError:
            return not Path("/proc/self").exists()  # without /proc all that is known is that it exists
        if not Path(program).name.startswith("pulumi"):  # nothing, for a process whose end nobody has asked about
            return False
        return self.since is None or started <= self.since.timestamp() + CLOCK_SECONDS

    def __str__(self) -> str:
        who = (
            f"{self.user or '?'}@{self.host}, process {self.pid}"
            if self.host
            else "an update that Pulumi Cloud knows of"
        )
        return f"{who}, since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else who


def parse(text: str) -> Lock:
    """A lock as Pulumi writes it: `{"pid":…,"username":…,"hostname":…,"timestamp":…}`; unknown where it is damaged."""
    try:
        found: Mapping[str, Any] = json.loads(text)
        since = datetime.fromisoformat(str(found["timestamp"])[:19]).replace(tzinfo=UTC)
        return Lock(str(found["hostname"]), str(found.get("username", "")), int(found["pid"]), since)
    except (ValueError, KeyError, TypeError):  # the machine lost power while it was written
        return Lock("?", "?", 0)


def directory(backend: str) -> Path | None:
    """Where a backend of files is; None for any other."""
    url = urlparse(backend)
    if url.scheme != "file":
        return None
    return Path(os.path.expanduser(f"{url.netloc}{url.path}"))  # noqa: PTH111 - file://~ is a string


AnyPath = TypeVar("AnyPath", Path, PurePosixPath)


def place(backend: AnyPath, project: str, stack: str) -> AnyPath:
    """Where a backend keeps a stack's locks."""
    return backend / ".pulumi" / "locks" / "organization" / project / stack


def find(backend: str, project: str, stack: str, shown: Callable[[], str], s3: Callable[[], Any]) -> list[Lock]:
    """The locks of a stack.

    Args:
        backend: the backend's URL.
        shown: gives `pulumi stack ls --json`, for Pulumi Cloud.
        s3: makes an S3 client, for that backend.
    """
    url = urlparse(backend)
    if (files := directory(backend)) is not None:
        return [parse(file.read_text()) for file in sorted(place(files, project, stack).glob("*.json"))]
    if url.scheme == "s3":
        below = place(PurePosixPath(url.path.strip("/"), *parse_qs(url.query).get("prefix", [])), project, stack)
        client = s3()
        held = client.list_objects_v2(Bucket=url.netloc, Prefix=f"{below}/").get("Contents", [])
        return [parse(client.get_object(Bucket=url.netloc, Key=each["Key"])["Body"].read().decode()) for each in held]
    if url.scheme in ("http", "https"):
        mine = [found for found in json.loads(shown()) if found["name"].rpartition("/")[2] == stack]
        return [Lock() for found in mine if found.get("updateInProgress")]
    return []


def _started(pid: int) -> float:
    """When a process began, in seconds since 1970."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
