"""An engine that is killed, in a sandbox of its own, and the tools that mend what it leaves."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.engine.pulumi_cli import STACK, Engine
from tests.engine.sandbox import CHECKOUT, Namespace, _remove, add_namespace
from tests.patience import PATIENCE

EVENT = re.compile(r" (?:creating|created|updating|updated|deleting|deleted) \(")
"""A line of the CLI that says that an operation on a resource began or ended."""


class OwnNamespace(Namespace):
    """A second one beside that of the other tests of this process."""

    def __init__(self) -> None:
        self.name = f"crash-{os.getpid()}"
        for leftover in Path("/run/netns").glob("crash-*"):
            pid = leftover.name.removeprefix("crash-")
            if pid.isdigit() and (int(pid) == os.getpid() or not Path("/proc", pid).exists()):
                _remove(leftover.name)
        add_namespace(self.name)


class CrashingEngine(Engine):
    """The engine, and the commands that are typed after it was killed."""

    def crash(self, command: str, event: int, *, after: float = 0.0, plugins_too: bool = True) -> str:
        """Start an update and kill it when as many operations have begun or ended, and `after` seconds more.

        Returns what the update said. Without `plugins_too` the plugins live on, as after `kill -9` of the CLI alone.
        """
        with self._started("pulumi", command, "--yes", "--skip-preview", *self._common) as process:
            assert process.stdout is not None
            said, events = "", 0
            for line in process.stdout:
                said += line
                events += bool(EVENT.search(line))
                if events >= event:
                    time.sleep(after)
                    kill(process.pid, plugins_too=plugins_too)
                    break
            said += process.stdout.read() if plugins_too else ""
        assert events >= event, f"the {command} ended before it could be killed:\n{said}"
        return said

    def interrupt(self, command: str, event: int) -> subprocess.CompletedProcess[str]:
        """The same with Ctrl-C, as a terminal gives it to everything that runs there; `tools/pulumi` is what runs."""
        words = (str(CHECKOUT / "tools" / "pulumi"), command, "--yes", "--skip-preview", *self._common)
        with self._started(*words) as process:
            assert process.stdout is not None
            said, events = "", 0
            for line in process.stdout:
                said += line
                events += bool(EVENT.search(line))
                if events == event:
                    os.killpg(process.pid, signal.SIGINT)
            return subprocess.CompletedProcess(words, process.wait(), said)

    @contextlib.contextmanager
    def _started(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            self.namespace.command(*command),
            cwd=CHECKOUT, env=self._env, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            yield process

    def tool(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A program of tools/, such as `tools.recover`, for this stack; both outputs are in stdout."""
        module, *arguments = command
        return self._run(sys.executable, "-m", module, STACK, "--config-file", str(self._config), *arguments)

    def plain(self, command: str) -> subprocess.CompletedProcess[str]:
        """`tools/pulumi COMMAND` as a person types it, who does not know that anything was interrupted."""
        return self._run(str(CHECKOUT / "tools" / "pulumi"), command, "--yes", "--skip-preview", *self._common)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.namespace.command(*command),
            cwd=CHECKOUT, env=self._env, text=True, timeout=PATIENCE,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def recover(self, *options: str) -> str:
        """`make recover`; fails with what it said unless it succeeds."""
        done = self.tool("tools.recover", *options)
        assert done.returncode == 0, done.stdout
        return done.stdout


def kill(pid: int, *, plugins_too: bool) -> None:
    """`kill -9`, as a crash of the machine would end it: with every process that it has started."""
    os.kill(pid, signal.SIGSTOP)
    family = [pid, *(descendants(pid) if plugins_too else ())]
    for number in (signal.SIGSTOP, signal.SIGKILL):  # all at once: none notices the end of another
        for each in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)


def descendants(pid: int) -> list[int]:
    """Children, grandchildren and so on."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]
