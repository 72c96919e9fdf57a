"""Where the engine runs in these tests: a network namespace of its own, with the AWS API and one SSH server in it.

Nothing in the namespace leads out, so the engine there can reach neither AWS nor a real host. Every address of the lab
is local to it, and whoever connects to one on port 22 meets the SSH server.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
from botocore.config import Config

from lab.ec2 import REGION
from lab.ec2.addresses import PUBLIC_NETWORK
from lab.ec2.server import OBJECTS_PATH
from tests.patience import PATIENCE

CHECKOUT = Path(__file__).resolve().parents[2]
API_PORT = 5000
PRIVATE_NETWORK = "172.30.0.0/16"
"""The deployment's: what is sent there through the load balancer arrives too."""


class SandboxError(Exception):
    """The sandbox cannot be made. The text says what to do."""


def _ip(*arguments: str) -> None:
    ran = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if ran.returncode:
        raise SandboxError(f"ip {' '.join(arguments)}: {ran.stderr.strip()}")


def _remove(namespace: str) -> None:
    """With every process in it: the plugins of an engine that was killed live on."""
    inside = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True)
    for pid in inside.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _ip("netns", "del", namespace)


def add_namespace(name: str) -> None:
    """A network namespace to which every address of the lab is local."""
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")
    for network in (str(PUBLIC_NETWORK), PRIVATE_NETWORK):
        _ip("-n", name, "route", "add", "local", network, "dev", "lo")


class Namespace:
    """A network namespace named after this process, so that one whose process is gone can be told and removed."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise SandboxError("The engine tests need root, for a network namespace of their own: run them with sudo.")
        self.name = f"engine-{os.getpid()}"
        for leftover in Path("/run/netns").glob("engine-*"):
            pid = leftover.name.removeprefix("engine-")
            if pid.isdigit() and (int(pid) == os.getpid() or not Path("/proc", pid).exists()):
                _remove(leftover.name)
        add_namespace(self.name)

    def command(self, *command: str) -> list[str]:
        """`command`, to be run inside."""
        return ["ip", "netns", "exec", self.name, *command]

    def close(self) -> None:
        _remove(self.name)


_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _end_with_parent() -> None:
    """In a child: tests that are killed leave no server behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A server of ours inside the namespace, ready once it has printed its first line."""

    def __init__(self, namespace: Namespace, log: Path, *arguments: str, pass_fds: Sequence[int] = ()) -> None:
        self.log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                namespace.command(sys.executable, "-m", *arguments),
                cwd=CHECKOUT,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=pass_fds,
                # Without compiled files, loading moto takes three times as long.
                env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
                preexec_fn=_end_with_parent,
            )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise SandboxError(f"{' '.join(arguments)} did not start: {log.read_text()}")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class AwsApi(Child):
    """The AWS API: on 127.0.0.1:5000 inside the namespace, and on a socket that these tests can reach."""

    def __init__(self, namespace: Namespace, directory: Path, without: Sequence[str] = ()) -> None:
        with socket.socket() as outside:
            outside.bind(("127.0.0.1", 0))
            outside.listen(128)
            self.url = f"http://127.0.0.1:{outside.getsockname()[1]}"
            fd = outside.fileno()
            self.calls = directory / "aws-calls.log"
            left_out = [argument for patch in without for argument in ("--without", patch)]
            arguments = ("lab.ec2", "--port", str(API_PORT), "--fd", str(fd), "--calls", str(self.calls), *left_out)
            super().__init__(namespace, directory / "aws-api.log", *arguments, pass_fds=[fd])

    def client(self, service: str) -> Any:
        connect = boto3.client
        return connect(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}),
        )

    def objects(self) -> dict[str, list[str]]:
        """What the account holds besides what was there from the start, by kind."""
        found: dict[str, list[str]] = json.load(urlopen(self.url + OBJECTS_PATH, timeout=PATIENCE))
        return found


@dataclass(frozen=True)
class SshCall:
    """One command as a host received it."""

    address: str
    user: str
    command: str
    stdin: str
    exit: int


class SshServer(Child):
    """Every host of the deployment: takes the stack's key, shows its host key, answers each command with success."""

    def __init__(self, namespace: Namespace, directory: Path, host_key: str, authorized_key: str) -> None:
        self._calls, self._failures = directory / "ssh-calls.jsonl", directory / "ssh-failures.json"
        for name, text in (("host_key", host_key), ("authorized_key", authorized_key)):
            (directory / name).touch(mode=0o600)
            (directory / name).write_text(text)
        self._calls.touch()
        super().__init__(namespace, directory / "ssh-server.log", "tests.engine.ssh_server", str(directory))

    @property
    def calls(self) -> list[SshCall]:
        """All commands so far, oldest first."""
        return [SshCall(**json.loads(line)) for line in self._calls.read_text().splitlines()]

    def clear(self) -> None:
        """Forgets the commands so far."""
        self._calls.write_text("")

    @contextlib.contextmanager
    def failing(self, pattern: str, message: str, status: int = 1) -> Iterator[None]:
        """Within, commands end with `status` and say `message` if `pattern` is found in them or in their input."""
        self._failures.write_text(json.dumps({"pattern": pattern, "message": message, "status": status}))
        try:
            yield
        finally:
            self._failures.unlink()
