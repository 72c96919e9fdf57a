"""`make ssh STACK=… NODE=origin-1`: a shell on a host of a deployment; or a command there, with ARGS="-- COMMAND".

Hosts other than the load balancer are reached through it. The stack's own key logs in, every host must show the stack's
host key, and neither is left anywhere: both are in a folder that goes with the shell.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from cluster.cloud_init import LOGIN_USER
from cluster.settings import Ssh
from tools.provision.steps import ProvisionError
from tools.recover import enter_lab, report
from tools.recovery.stack import RecoveryError, Stack

HOST: Final = "antmedia"
"""The name under which the one host key of all hosts is known."""


def command(folder: Path, nodes: Mapping[str, Mapping[str, Any]], node: str, words: Sequence[str]) -> list[str]:
    """ssh's command line. `folder` has the files `key` and `known_hosts`; `nodes` is the stack's output.

    Raises:
        RecoveryError: there is no such node.
    """
    if node not in nodes:
        wrong = f"There is no node {node}" if node else "Say which node, with NODE=name"
        raise RecoveryError(f"{wrong}; the nodes are {', '.join(sorted(nodes))}.")
    ssh = [
        "ssh", "-i", str(folder / "key"), "-o", "IdentitiesOnly=yes", "-o", f"HostKeyAlias={HOST}",
        "-o", f"UserKnownHostsFile={folder / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes",
        "-o", "ConnectTimeout=15", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
    ]  # fmt: skip
    entrance = next(str(each["publicAddress"]) for each in nodes.values() if each["role"] == "lb")
    if nodes[node]["role"] == "lb":
        return [*ssh, f"{LOGIN_USER}@{entrance}", *words]
    through = shlex.join([*ssh, "-W", "%h:%p", f"{LOGIN_USER}@{entrance}"])
    return [*ssh, "-o", f"ProxyCommand={through}", f"{LOGIN_USER}@{nodes[node]['privateAddress']}", *words]


@contextlib.contextmanager
def login(keys: Ssh) -> Iterator[Path]:
    """A folder with the files that `command` names; it goes with the block."""
    with tempfile.TemporaryDirectory(prefix="antmedia-ssh-") as made:
        folder = Path(made)
        (folder / "key").touch(mode=0o600)
        (folder / "key").write_text(keys.login_key.strip() + "\n")
        (folder / "known_hosts").write_text(f"{HOST} {keys.host_public_key}\n")
        yield folder


def keys_of(stack: Stack) -> Ssh:
    """The stack's keys. Nothing else of its file is looked at: a mistake elsewhere in it keeps nobody from a host.

    Raises:
        RecoveryError: they cannot be used.
    """
    held = stack.pulumi("config", "get", "antmedia:ssh", "--json", "--non-interactive", config=True)
    try:
        return Ssh.model_validate(json.loads(json.loads(held)["value"]))
    except ValidationError:
        told_by = f"tools/pulumi preview -s {stack.name}"
        raise RecoveryError(f"antmedia:ssh cannot be used; what is wrong: {told_by}") from None


def main() -> int:
    """Open the shell. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="make ssh", description=__doc__)
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("node", help="name of the node, such as lb-1 or origin-1")
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="what to run there instead of a shell")
    arguments = parser.parse_args()
    stack = Stack(arguments.stack)
    try:
        enter_lab("tools.ssh", stack.name, sys.argv[1:])
        nodes = json.loads(stack.pulumi("stack", "output", "--json", "--non-interactive")).get("nodes", {})
        if not nodes:
            raise stack.no_hosts
        with login(keys_of(stack)) as folder:
            line = command(folder, nodes, arguments.node, arguments.words)
            return subprocess.run(line, check=False).returncode
    except (RecoveryError, ProvisionError) as error:
        return report(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
