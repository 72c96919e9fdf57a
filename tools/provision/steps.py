"""How a step of the tool chain's making is run, timed, reported and, when it fails, explained."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class ProvisionError(Exception):
    """Something a person can put right; the message is one that says what to do."""


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


# Compiling is silent for minutes; a sign of life this often keeps a person from giving up.
SIGN_OF_LIFE_S = 30.0


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print `title`, a sign of life now and then, and how long the block took; whoever catches a failure reports it."""
    started = time.monotonic()
    over = threading.Event()

    def live() -> None:
        while not over.wait(SIGN_OF_LIFE_S):
            say(f"    still at it after {time.monotonic() - started:.0f} s")

    say(f"  {title} ...")
    threading.Thread(target=live, daemon=True).start()
    try:
        yield
    finally:
        over.set()
    say(f"  {title}: done in {time.monotonic() - started:.1f} s")


_held_by_children: list[int] = []


@contextlib.contextmanager
def held_by_children(descriptor: int) -> Iterator[None]:
    """Within the block, every program that `run` starts holds this file descriptor open as long as it lives."""
    _held_by_children.append(descriptor)
    try:
        yield
    finally:
        _held_by_children.remove(descriptor)


def run(command: Sequence[str | Path], what: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program to its end and return its standard output.

    `what` completes the sentence "Could not ...". Raises ProvisionError with the last lines of what the program said.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env=dict(os.environ if env is None else env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=tuple(_held_by_children),
        )
    except FileNotFoundError as error:
        raise ProvisionError(f"Could not {what}: the program {command[0]} is missing; install it.") from error
    except OSError as error:
        raise ProvisionError(f"Could not {what}: {error.strerror} ({command[0]}).") from error
    if done.returncode == 0:
        return done.stdout
    raise ProvisionError(explain(what, done.stdout + done.stderr, done.returncode))


# What programs say when something is wrong that a person can put right, and what to do about it.
REMEDIES = (
    ("No space left on device", "the disk is full; free some space and run this again, it goes on where it stopped"),
    ("Disk quota exceeded", "the disk quota is used up; free some space and run this again"),
    ("ensurepip is not available", "Python's venv module is incomplete; on Debian: apt install python3-venv"),
    ("No module named venv", "Python's venv module is missing; on Debian: apt install python3-venv"),
    (
        "THESE PACKAGES DO NOT MATCH THE HASHES",
        "a downloaded package is not the one that was locked; not installed",
    ),
    ("checksum mismatch", "a downloaded module is not the one that was locked; do not use it"),
    ("SECURITY ERROR", "a downloaded module is not the one that was locked; do not use it"),
    ("signal: killed", "the machine ran out of memory; building needs about 4 GiB"),
    ("cannot allocate memory", "the machine ran out of memory; building needs about 4 GiB"),
)
NETWORK_TROUBLE = (
    "Temporary failure in name resolution",
    "no such host",
    "connection refused",
    "Connection refused",
    "i/o timeout",
    "Network is unreachable",
    "network is unreachable",
    "Could not find a version",
    "No matching distribution found",
    "TLS handshake timeout",
    "server misbehaving",
)


def explain(what: str, output: str, code: int) -> str:
    """One sentence for the known causes, the program's last lines for the others."""
    for sign, remedy in REMEDIES:
        if sign in output:
            return f"Could not {what}: {remedy}."
    lines = [line for line in output.strip().splitlines() if line.strip()]
    tail = "\n".join("    " + line for line in lines[-12:])
    if any(sign in output for sign in NETWORK_TROUBLE):
        return (
            f"Could not {what}: a package registry did not answer. Check the network (a proxy? GOPROXY, PIP_INDEX_URL) "
            f"and run this again; it goes on where it stopped.\n{tail}"
        )
    return f"Could not {what} (exit code {code}):\n{tail}"


def complain(error: ProvisionError) -> int:
    """Print the sentence and return the exit code."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 1
