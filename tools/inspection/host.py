"""Looks at files, properties, packages and units of the host that it runs on, and changes nothing.

Sent over standard input by `make drift`, which adds the call of `main`: with what `cluster.host_state.request` makes.
Prints one JSON document. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

MAX_BYTES = 1 << 20
"""Of a text that is sent back; none of the program's files is near it."""


def file(path: str, expected: str | None) -> dict[str, Any] | None:
    """Kind, mode, owner and digest; None where there is nothing. The text only if it has not the `expected` digest."""
    try:
        held = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    kind = "folder" if stat.S_ISDIR(held.st_mode) else "file" if stat.S_ISREG(held.st_mode) else "neither"
    found: dict[str, Any] = {
        "kind": kind,
        "mode": stat.S_IMODE(held.st_mode),
        "owner": _name(held.st_uid, pwd.getpwuid),
        "group": _name(held.st_gid, grp.getgrgid),
        "digest": None,
        "text": None,
    }
    if kind == "file":
        with open(path, "rb") as reading:  # noqa: PTH123
            content = reading.read()
        found["digest"] = hashlib.sha256(content).hexdigest()
        if expected is not None and found["digest"] != expected and len(content) <= MAX_BYTES:
            found["text"] = content.decode("utf-8", "replace")
    return found


def _name(number: int, look_up: Any) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


def salt(path: str) -> str | None:
    """Of the first password that is hashed as crypt(5) has it."""
    try:
        with open(path, encoding="utf-8", errors="replace") as reading:  # noqa: PTH123
            parts = reading.read().split("$")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return parts[2] if len(parts) > 3 else None


def properties(path: str, names: Iterable[str]) -> dict[str, str]:
    """The digests of the values of those that the file has and that are not empty."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as reading:  # noqa: PTH123
            lines = [line.rstrip("\n").partition("=") for line in reading]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    held: dict[str, str] = {}
    for name, _, value in lines:
        held.setdefault(name, value)
    return {
        name: hashlib.sha256(held[name].encode("utf-8", "surrogateescape")).hexdigest()
        for name in names
        if held.get(name)
    }


def packages(names: list[str]) -> dict[str, str]:
    """dpkg's status of each that it knows."""
    asked = _said("dpkg-query", "-W", "-f", "${Package}\t${Status}\n", *names) if names else ""
    return dict(line.split("\t", 1) for line in asked.splitlines())


def units(names: list[str]) -> dict[str, dict[str, str]]:
    """What systemd says of each."""
    found = {}
    for name in names:
        said = _said("systemctl", "show", "-p", "LoadState,ActiveState,UnitFileState", "--", name)
        state = dict(line.split("=", 1) for line in said.splitlines())
        there = state.get("UnitFileState") or state.get("LoadState", "unknown")
        found[name] = {"enabled": there, "active": state.get("ActiveState", "unknown")}
    return found


def _said(*command: str) -> str:
    # dpkg-query fails for a package that it does not know, and tells of the others.
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout


def main(request: dict[str, Any]) -> None:
    """Look, and print."""
    json.dump(
        {
            "files": {path: file(path, expected) for path, expected in request["files"].items()},
            "salts": {path: salt(path) for path in request["salts"]},
            "properties": {path: properties(path, names) for path, names in request["properties"].items()},
            "packages": packages(request["packages"]),
            "units": units(request["units"]),
        },
        sys.stdout,
    )
