#!/usr/bin/python3
"""antmedia-node LOCK ADMIN MASTER STATE HEALTH drain NODE MINUTES, or serve NODE SECONDS: a node is taken out, or back.

LOCK is the lock file of whoever changes HAProxy; ADMIN and MASTER are the sockets of its newest worker and of its
master process; STATE is its server state file, by which a reload remembers what was said here. HEALTH is the path of a
node's health check.

drain: no new session goes to the node, neither from the newest worker nor from an old one that still serves its
connections after a reload. Then it waits until the node has no session left, at most MINUTES from the first attempt on:
a drain that was interrupted goes on where it was. A node that does not answer its health checks is not waited for.

serve: once the node answers its health check from here it takes sessions again; done when HAProxy finds it up, an error
when that takes longer than SECONDS.
"""

from __future__ import annotations

import csv
import fcntl
import io
import re
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

POOL = "nodes"
"""The pool with health checks; servers of the others follow those of the same name in it."""

MARKS = Path("/run/antmedia-node")
"""A file for each node that is being drained, as old as the drain."""

ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.5
SAY_SECONDS = 30.0
RELOAD_SECONDS = 15.0
"""How long HAProxy may be away: a reload, or a start."""


class NodeError(Exception):
    """The node does not do what was asked; the text says why."""


def ask(path: str, command: str) -> str:
    """HAProxy's answer on one of its sockets, which is never empty. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(path)
        connection.sendall(f"{command}\n".encode())
        connection.shutdown(socket.SHUT_WR)  # the master waits for another command otherwise
        with connection.makefile("rb") as answer:
            if not (said := answer.read().decode()):
                raise ConnectionError(f"{path} was closed without an answer to {command}")
            return said


@dataclass(frozen=True)
class Sight:
    """A node as one worker sees it."""

    status: str
    """In the pool with health checks, such as `UP`, `DOWN 1/2` or `MAINT`; empty where there is no such server."""
    last_check: str
    """Such as `L7OK`; empty before the first one."""
    address: str
    sessions: int
    """In all pools together."""


def sight(statistics: str, node: str) -> Sight:
    """From the answer to `show stat`."""
    status = last_check = address = ""
    sessions = 0
    for row in csv.DictReader(io.StringIO(statistics.lstrip("# "))):
        if row["svname"] == node:
            sessions += int(row["scur"] or 0)
            if row["pxname"] == POOL:
                status, last_check, address = row["status"], row["check_status"], row["addr"]
    return Sight(status, last_check, address, sessions)


def old_workers(processes: str) -> list[str]:
    """Process ids, from the master's answer to `show proc`."""
    _, _, old = processes.partition("# old workers")
    return re.findall(r"(?m)^(\d+)\s+worker\b", old)


@dataclass(frozen=True)
class Haproxy:
    """The running one, by its files."""

    lock: str
    admin: str
    master: str
    state: str
    health: str

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else changes its configuration meanwhile."""
        with Path(self.lock).open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def asked(self, path: str, command: str) -> str:
        """The answer on one of the sockets, which is waited for while HAProxy is away. Raises OSError."""
        deadline = time.monotonic() + RELOAD_SECONDS
        while True:
            try:
                return ask(path, command)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def told(self, node: str, state: str) -> None:
        """The newest worker, and the one after the next reload, know that a node is in `maint` or `ready`."""
        answer = self.asked(self.admin, f"set server {POOL}/{node} state {state}").strip()
        if answer:
            raise NodeError(f"HAProxy does not take {node} to {state}: {answer}")
        new = Path(f"{self.state}.new")
        new.write_text(self.asked(self.admin, "show servers state"))
        new.replace(self.state)

    def sight(self, node: str) -> Sight:
        return sight(self.asked(self.admin, "show stat"), node)

    def old(self) -> list[str]:
        """The workers that a reload left behind for their connections. Raises OSError.

        The master is away for a moment in each reload: to take that for no old workers would end a drain too early.
        """
        return old_workers(self.asked(self.master, "show proc"))

    def old_sessions(self, node: str) -> int:
        """Those of a node in old workers, which are told to take no more: their clients may ask again."""
        found = 0
        for worker in self.old():
            try:
                seen = sight(ask(self.master, f"@!{worker} show stat"), node)
                if seen.status and "MAINT" not in seen.status:
                    ask(self.master, f"@!{worker} set server {POOL}/{node} state maint")
                found += seen.sessions
            except OSError:
                found += 1  # unknown; a worker that has just ended is no longer listed the next time
        return found


def drain(haproxy: Haproxy, node: str, minutes: float, say: Callable[[str], None] = print) -> None:
    """See above; says how many sessions were cut."""
    mark = MARKS / node
    try:
        with haproxy.alone():
            before = haproxy.sight(node)
            if before.status:
                haproxy.told(node, "maint")
    except OSError:
        say(f"{node}: HAProxy does not run, nothing to wait for")
        return
    if before.status.startswith("DOWN"):
        mark.unlink(missing_ok=True)
        say(f"{node}: does not answer, not waited for")
        return
    MARKS.mkdir(exist_ok=True)
    if not mark.exists():
        mark.touch()
    began = mark.stat().st_mtime
    said, shown = time.monotonic(), -1
    while True:
        now = haproxy.sight(node).sessions if before.status else 0
        left = now + haproxy.old_sessions(node)
        waited = max(0.0, time.time() - began)
        if not left or waited >= 60 * minutes:
            break
        if shown < 0 or (left != shown and time.monotonic() - said >= SAY_SECONDS):
            say(f"{node}: waiting for its sessions, at most {minutes - waited / 60:.0f} min more: {left}")
            said, shown = time.monotonic(), left
        time.sleep(POLL_SECONDS)
    mark.unlink(missing_ok=True)
    say(f"{node}: drained for {waited:.0f} s, sessions still there, which are cut: {left}")


def failure(url: str) -> str:
    """Why a health check does not succeed from here; nothing when it does."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return "" if answer.status == 200 else f"status {answer.status}"
    except OSError as error:
        return str(error)


def serve(haproxy: Haproxy, node: str, seconds: float, say: Callable[[str], None] = print) -> None:
    """See above. Raises NodeError."""
    deadline = time.monotonic() + seconds
    seen = haproxy.sight(node)
    if not seen.status:
        raise NodeError(f"{node} is not in HAProxy's configuration")
    while why := failure(f"http://{seen.address}{haproxy.health}"):
        if time.monotonic() > deadline:
            raise NodeError(f"{node} at {seen.address} does not answer its health check from here: {why}")
        time.sleep(POLL_SECONDS)
    with haproxy.alone():
        haproxy.told(node, "ready")
    (MARKS / node).unlink(missing_ok=True)
    while True:
        seen = haproxy.sight(node)
        if seen.status.startswith("UP") and seen.last_check == "L7OK":
            break
        if time.monotonic() > deadline:
            raise NodeError(f"HAProxy finds {node} {seen.status}, its last check {seen.last_check or 'not made'}")
        time.sleep(POLL_SECONDS)
    say(f"{node}: takes sessions")


def main(arguments: list[str]) -> int:
    """0 when the node is out, or back."""
    *files, what, node, patience = arguments
    haproxy = Haproxy(*files)
    try:
        (drain if what == "drain" else serve)(haproxy, node, float(patience))
    except (NodeError, OSError) as error:
        print(f"{what}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
