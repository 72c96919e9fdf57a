"""`make status STACK=…`: what a deployment does right now, as its load balancer sees it, until Ctrl-C.

With ARGS=--once, or where the output is no terminal that can be drawn on, one screen; with ARGS=--json, one JSON
document. Nothing is changed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cluster import haproxy
from tools import ssh
from tools.live import status as live
from tools.live.screen import screen
from tools.provision.steps import ProvisionError
from tools.recover import enter_lab, report
from tools.recovery.stack import RecoveryError, Stack
from tools.repair import hosts

GATHER: Final = (Path(__file__).parent / "live" / "gather.sh").read_text()
FILES: Final = (
    haproxy.ADMIN_SOCKET,
    haproxy.MASTER_SOCKET,
    haproxy.CERTIFICATE,
    f"{haproxy.CERTIFICATE_STATE}/status",
)
ANSWER_SECONDS: Final = 60
SSH_FAILED: Final = 255
"""ssh's own exit status, when it is not the command's. https://man.openbsd.org/ssh#EXIT_STATUS"""

PLAIN_WIDTH: Final = 140
"""Columns, where no terminal says how many it has."""


@dataclass(frozen=True)
class Watched:
    """A deployment that can be looked at again and again. `command` asks its load balancer."""

    stack: str
    outputs: Mapping[str, Any]
    images: Mapping[str, str]
    load_balancer: str
    command: tuple[str, ...]

    def look(self) -> live.Status:
        """Raises RecoveryError: there is no answer; with what to do."""
        where = f"The load balancer of the stack {self.stack}, {self.load_balancer}"
        try:
            done = subprocess.run(
                self.command, input=GATHER, capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise RecoveryError(f"{where}, has not answered within {ANSWER_SECONDS} s. {self._remedy}") from error
        if done.returncode == SSH_FAILED:
            raise RecoveryError(f"{where}, cannot be reached: {_last_line(done.stderr)}. {self._remedy}")
        if done.returncode:
            raise RecoveryError(f"{where}, does not say how it is: {_last_line(done.stderr)}. {self._remedy}")
        try:
            return live.status(self.stack, datetime.now(UTC), self.outputs, self.images, done.stdout)
        except live.NotAnsweringError as error:
            raise RecoveryError(
                f"{where}, runs, but HAProxy on it does not answer. To see why: "
                f'make ssh STACK={self.stack} NODE={self.load_balancer} ARGS="-- systemctl status haproxy".'
            ) from error

    @property
    def _remedy(self) -> str:
        return (
            "It lets in the addresses in adminCidrs only; if it has died, "
            f"make repair STACK={self.stack} NODE={self.load_balancer} replaces it."
        )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1].rstrip(".")


def entrance(stack: Stack, outputs: Mapping[str, Any]) -> str:
    """The load balancer's name. Raises RecoveryError where there is none."""
    for name, node in outputs.get("nodes", {}).items():
        if node["role"] == "lb":
            return str(name)
    raise stack.no_hosts


def watch(look: Callable[[], live.Status], console: Console, every: float) -> None:
    """The screen, again and again in place, until Ctrl-C. Later looks that get no answer say so below the last screen.

    Raises:
        RecoveryError: the first look got none.
    """
    last = screen(look())
    with (
        Live(last, console=console, auto_refresh=False, vertical_overflow="crop") as shown,
        suppress(KeyboardInterrupt),
    ):
        while True:
            shown.refresh()
            time.sleep(every)
            try:
                last = screen(look())
                shown.update(last)
            except RecoveryError as error:
                shown.update(Group(last, Text(str(error), style="bold red")))


def main() -> int:
    """Show it. Returns the exit code: 1 when it could not be seen, whatever was seen otherwise."""
    parser = argparse.ArgumentParser(prog="make status", description=__doc__)
    parser.add_argument("stack", help="name of the stack")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="one screen, also on a terminal")
    how.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--every", type=float, default=3.0, metavar="SECONDS", help="pause between looks (default: 3)")
    arguments = parser.parse_args()
    stack = Stack(arguments.stack)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    try:
        enter_lab("tools.status", stack.name, sys.argv[1:])
        state = stack.export()
        name = entrance(stack, state.outputs)
        images = {node: str(host["inputs"]["ami"]) for node, host in hosts(state).items()}
        with ssh.login(ssh.keys_of(stack)) as folder:
            command = ssh.command(folder, state.outputs["nodes"], name, ["sudo", "bash", "-s", "--", *FILES])
            watched = Watched(stack.name, state.outputs, images, name, tuple(command))
            if arguments.json:
                print(watched.look().model_dump_json(by_alias=True, indent=2))
            elif arguments.once or not console.is_terminal or console.is_dumb_terminal:
                console.print(screen(watched.look()))
            else:
                watch(watched.look, console, arguments.every)
    except (RecoveryError, ProvisionError) as error:
        return report(error)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
