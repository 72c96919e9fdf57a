#!/usr/bin/python3
"""mongod --config FILE: starts FerretDB as a mongod.conf says.

It knows the options that the deployment writes and, as mongod does, refuses a file that has others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FERRETDB = "/usr/lib/lab-mongodb-server/ferretdb"
KNOWN = ("net.bindIp", "net.port", "security.authorization", "storage.dbPath")


class ConfigError(Exception):
    """The configuration cannot be used."""


def options(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every option by its dotted name."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from options(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def command(text: str) -> list[str]:
    """FerretDB's command line for a configuration. Raises ConfigError."""
    found = dict(options(yaml.safe_load(text) or {}))
    for name in found:
        if name not in KNOWN:
            raise ConfigError(f"Unrecognized option: {name}")
    bind = str(found.get("net.bindIp", "127.0.0.1"))
    if "," in bind:
        raise ConfigError("net.bindIp: the stand-in listens on one address, or on all with 0.0.0.0")
    match found.get("security.authorization", "disabled"):
        case "enabled":
            login = ["--test-enable-new-auth"]
        case "disabled":
            login = []
        case other:
            raise ConfigError(f"security.authorization: {other}")
    data = found.get("storage.dbPath", "/data/db")
    return [
        FERRETDB,
        f"--listen-addr={bind}:{found.get('net.port', 27017)}",
        "--handler=sqlite",
        f"--sqlite-url=file:{data}/",
        f"--state-dir={data}",
        "--telemetry=disable",
        "--debug-addr=-",
        "--log-level=error",
        *login,
    ]


def main() -> int:
    """Becomes FerretDB; returns, with an exit status, only when it cannot."""
    match sys.argv[1:]:
        case ["--config", file]:
            pass
        case _:
            print(f"usage: {sys.argv[0]} --config FILE", file=sys.stderr)
            return 2
    try:
        found = command(Path(file).read_text())
    except (ConfigError, OSError, yaml.YAMLError) as error:
        print(f"mongod: {error}", file=sys.stderr)
        return 2
    return os.execv(found[0], found)


if __name__ == "__main__":
    sys.exit(main())
