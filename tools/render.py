"""`make render STACK=prod FILE=haproxy.cfg`: what a stack file makes of a host's file. No engine, no credentials."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from cluster import keys, render
from cluster.plan import ClusterPlan, plan
from cluster.settings import NAMESPACE, SettingsError, load

STACKS: Final = Path(__file__).resolve().parent.parent / "stacks"


def configuration(stack: str) -> dict[str, Any]:
    """The stack file's values; host files hold no secrets, so others stand in for those that it keeps encrypted.

    Raises:
        FileNotFoundError: no such stack.
    """
    config = (yaml.safe_load((STACKS / f"Pulumi.{stack}.yaml").read_text()) or {}).get("config") or {}
    values = {key.removeprefix(f"{NAMESPACE}:"): value for key, value in config.items() if key.startswith(NAMESPACE)}
    values["ssh"] = {"privateKey": keys.new_private_key(), "hostKey": keys.new_private_key()}
    values["stats"] = {**(values.get("stats") or {}), "password": "not-the-real-one"}
    return values


def stack_plan(stack: str) -> ClusterPlan:
    """The plan of a stack file.

    Raises:
        FileNotFoundError: no such stack.
        SettingsError: its configuration cannot be used.
    """
    return plan(load(configuration(stack), now=datetime.now(UTC)), project=NAMESPACE, stack=stack)


def main() -> int:
    """Print the file, or what is wrong with the stack file."""
    stack, name = sys.argv[1:3]
    if name not in render.HOST_FILES:
        print(f"There is no host file {name}; there are: {', '.join(render.HOST_FILES)}.", file=sys.stderr)
        return 1
    try:
        cluster = stack_plan(stack)
    except FileNotFoundError:
        print(f"There is no stack file stacks/Pulumi.{stack}.yaml.", file=sys.stderr)
        return 1
    except SettingsError as error:
        print(f"stack {stack}: {error}", file=sys.stderr)
        return 1
    print(render.HOST_FILES[name](cluster), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
