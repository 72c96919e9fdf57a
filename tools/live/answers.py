"""What HAProxy answers about itself, from text to data: `show stat`, `show info`, `show proc` and `show ssl cert`.

The formats are those of HAProxy's management guide: https://docs.haproxy.org/3.0/management.html#9.3
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_AGE: Final = re.compile(r"(\d+)d(\d+)h(\d+)m(\d+)s")
_PROCESS: Final = re.compile(
    r"^(?P<pid>\d+)\s+(?P<type>master|worker)\s+(?P<reloads>\d+)(?: \[failed: (?P<failed>\d+)\])?\s+"
    r"(?P<age>\d+d\d+h\d+m\d+s)",
    re.MULTILINE,
)


def sections(gathered: str) -> dict[str, str]:
    """What gather.sh printed: each answer by its name."""
    parts = re.split(r"(?m)^=== (.+)\n", gathered)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@dataclass(frozen=True)
class Process:
    """One of HAProxy's processes. The age is in seconds since it started; the master's outlasts reloads."""

    pid: int
    age: int
    reloads: int
    """Of the master, how often it was told to; of a worker, how many came after it began or failed to."""
    failed: int = 0


@dataclass(frozen=True)
class Processes:
    """The master, the worker that takes connections, and those that only finish theirs."""

    master: Process
    worker: Process
    old: tuple[Process, ...]


def processes(answer: str) -> Processes | None:
    """From `show proc`; None where master or worker is missing."""
    current, _, old = answer.partition("# old workers")
    found: dict[str, Process] = {each["type"]: _process(each) for each in _PROCESS.finditer(current)}
    if not found.keys() >= {"master", "worker"}:
        return None
    return Processes(found["master"], found["worker"], tuple(_process(each) for each in _PROCESS.finditer(old)))


def _process(found: re.Match[str]) -> Process:
    days, hours, minutes, seconds = map(int, _AGE.fullmatch(found["age"]).groups())  # type: ignore[union-attr]
    age = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return Process(int(found["pid"]), age, int(found["reloads"]), int(found["failed"] or 0))


def information(answer: str) -> dict[str, str]:
    """From `show info`, such as {"Version": "3.0.11", "CurrConns": "12"}."""
    lines = (line.partition(":") for line in answer.splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


@dataclass(frozen=True)
class Server:
    """A node as one worker sees it."""

    status: str
    """In the pool with health checks, such as `UP`, `DOWN 1/2` or `MAINT`."""
    since: int
    """Seconds since it last changed between up and down."""
    check: str
    """Outcome of its last health check, such as `L7OK` or `L4CON`; empty before the first one and in maintenance."""
    check_status: int | None
    """The HTTP status that it was answered with."""
    check_milliseconds: int | None
    check_said: str
    """What went wrong in HAProxy's words; empty when nothing did."""
    sessions: int
    """In all pools together."""
    rtmp: int
    """Those of them that are RTMP or RTMPS connections."""


def servers(answer: str, checked: str, rtmp: str) -> dict[str, Server]:
    """From `show stat`, by name: all servers of the pool `checked`. `rtmp` is the pool of RTMP.

    None in what is no table: an old worker may end between two questions.
    """
    if not answer.startswith("# pxname,"):
        return {}
    rows = list(csv.DictReader(io.StringIO(answer.lstrip("# "))))
    sessions: dict[str, int] = {}
    streams: dict[str, int] = {}
    for row in rows:
        name = row["svname"]
        sessions[name] = sessions.get(name, 0) + _number(row["scur"])
        if row["pxname"] == rtmp:
            streams[name] = _number(row["scur"])
    return {
        row["svname"]: Server(
            status=row["status"],
            since=_number(row["lastchg"]),
            check=row["check_status"].removeprefix("* "),  # while the next one runs
            check_status=_number(row["check_code"]) if row["check_code"] else None,
            check_milliseconds=_number(row["check_duration"]) if row["check_duration"] else None,
            check_said=row["last_chk"],
            sessions=sessions[row["svname"]],
            rtmp=streams.get(row["svname"], 0),
        )
        for row in rows
        if row["pxname"] == checked and row["svname"] != "BACKEND"
    }


def _number(field: str) -> int:
    return int(field or 0)


@dataclass(frozen=True)
class ServedCertificate:
    """What viewers are shown."""

    names: tuple[str, ...]
    ends: datetime
    issuer: str


def certificate(answer: str) -> ServedCertificate | None:
    """From `show ssl cert`; None where it shows none."""
    shown: Mapping[str, str] = information(answer)
    if "notAfter" not in shown:
        return None
    ends = datetime.strptime(shown["notAfter"].removesuffix(" GMT"), "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    names = tuple(name.partition(":")[2] for name in shown.get("Subject Alternative Name", "").split(", ") if name)
    return ServedCertificate(names, ends, shown.get("Issuer", ""))
