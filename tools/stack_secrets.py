"""The secrets of a stack: which there are, and how new ones are made and stored.

They go to the Pulumi CLI by standard input, never as arguments, and are kept encrypted in the stack's file.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from cluster import keys

MAKERS: Final[Mapping[str, Callable[[], str]]] = {
    "antmedia:ssh.privateKey": keys.new_private_key,
    "antmedia:ssh.hostKey": keys.new_private_key,
    "antmedia:stats.password": lambda: secrets.token_urlsafe(18),
    "antmedia:administrator.password": lambda: secrets.token_urlsafe(18),
    "antmedia:databaseLogin.password": lambda: secrets.token_urlsafe(24),
}
"""By the path of the key in the stack's configuration."""


def missing(config: Mapping[str, Any]) -> list[str]:
    """Which of the secrets a stack's `config:` does not hold yet."""
    return [path for path in MAKERS if _held(config, path) is None]


def _held(config: Mapping[str, Any], path: str) -> Any:
    first, *rest = path.split(".")
    value: Any = config.get(first)
    for part in rest:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def read(stack_file: Path) -> dict[str, Any]:
    """A stack file's content; an empty one where there is no file."""
    return (yaml.safe_load(stack_file.read_text()) or {}) if stack_file.exists() else {}


def add_missing(pulumi: Sequence[str], stack: str, stack_file: Path, *, cwd: Path, env: Mapping[str, str]) -> list[str]:
    """Make what is missing and store it encrypted; returns the paths that were added.

    Args:
        pulumi: the command line that the CLI's arguments are appended to.

    Raises:
        subprocess.CalledProcessError: the CLI failed; its own message has been printed.
    """
    paths = missing(read(stack_file).get("config") or {})
    for path in paths:
        subprocess.run(
            [*pulumi, "config", "set", "--stack", stack, "--secret", "--path", path, "--non-interactive"],
            input=MAKERS[path](),
            text=True,
            check=True,
            cwd=cwd,
            env=env,
        )
    return paths
