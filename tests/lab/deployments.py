"""A stack deployed into a lab of its own by the project's commands, and used from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import labs
from tests.lab.labs import CHECKOUT
from tests.patience import PATIENCE

DOMAIN = "live.example.test"
PICTURES = Path(os.environ.get("ANTMEDIA_PICTURES") or tempfile.gettempdir())
"""Where pictures go: with docs/pictures, those in the documentation are made anew."""

STREAM = f"rtmp://{DOMAIN}/LiveApp"


@dataclass
class Deployment:
    """A lab and the stack in it, driven from a copy of the checkout, whose stack file tests may edit."""

    lab: labs.Lab
    checkout: Path
    stack: str = "lab"

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of the project, from its top folder."""
        env = {**os.environ, "ANTMEDIA_LAB": self.lab.name}
        done = subprocess.run(command, cwd=self.checkout, env=env, capture_output=True, text=True, timeout=900)
        if check and done.returncode:
            log = self.lab.command("logs", check=False).stdout[-3000:]
            pytest.fail(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}\nThe lab:\n{log}")
        return done

    def pulumi(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`tools/pulumi ARGUMENTS -s STACK`."""
        return self.run("tools/pulumi", *arguments, "-s", self.stack, check=check)

    def make_up(self) -> str:
        """`make up` of the stack; what it printed."""
        return self.run("make", "up", f"STACK={self.stack}").stdout

    def up(self) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", "--color", "never").stdout

    def outputs(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.pulumi("stack", "output", "--json").stdout)
        return found

    def password(self, group: str) -> str:
        """A password of the stack: `stats` or `administrator`."""
        config = json.loads(self.pulumi("config", "--show-secrets", "--json").stdout)
        found: str = json.loads(config[f"antmedia:{group}"]["value"])["password"]
        return found

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the stack file as a person would."""
        file = self.checkout / "stacks" / f"Pulumi.{self.stack}.yaml"
        content = yaml.safe_load(file.read_text())
        change(content["config"])
        file.write_text(yaml.safe_dump(content))

    def fetch(self, url: str, *options: str) -> str:
        """What a viewer's curl prints; the certificate is not checked."""
        return self.lab.client("curl", "-sk", "-m", "30", *options, url).stdout

    def nodes_seen(self, requests: int) -> set[str]:
        """Which nodes answer a number of new viewers."""
        found = self.lab.client(
            "sh",
            "-c",
            f"for i in $(seq {requests}); do curl -sk -m 30 -o /dev/null -D - https://{DOMAIN}/LiveApp/; done",
        ).stdout
        return set(re.findall(r"(?im)^x-node: (\S+)", found))

    def haproxy(self) -> dict[str, str]:
        """The master's and the newest worker's process ids."""
        show = self.lab.host(
            "lb-1",
            "sh",
            "-c",
            "systemctl show -p MainPID haproxy; echo show info | socat - /run/haproxy/admin.sock",
        ).stdout
        return {"master": _found(r"MainPID=(\d+)", show), "worker": _found(r"Pid: (\d+)", show)}


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def prepare(directory: Path, stack: str = "lab") -> Deployment:
    """A copy of the checkout, so that tests can edit the stack file as a person would, and a name for a lab."""
    checkout = directory / "antmedia"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, tracked.split("\0")):
        if (CHECKOUT / name).exists():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, checkout / name, follow_symlinks=False)
    return Deployment(labs.Lab(f"t-{secrets.token_hex(3)}"), checkout, stack)


def cluster_list(deployment: Deployment) -> str:
    """The cluster's own list of its nodes, dead ones too: the JSON that its first node answers to its first user."""
    user = json.dumps({"email": "admin@antmedia.invalid", "password": deployment.password("administrator")})
    return deployment.lab.host(
        "lb-1", "sh", "-c",
        "jar=$(mktemp); base=http://172.30.0.132:5080/rest/v2; ask='curl -s -m 10 -b '$jar' -c '$jar; "
        "$ask -o /dev/null $base/authentication-status; "
        "$ask -o /dev/null -H 'Content-Type: application/json' --data-binary @- $base/users/authenticate; "
        "$ask $base/cluster/nodes/0/50; rm $jar",
        stdin=user,
    ).stdout  # fmt: skip


@contextlib.contextmanager
def in_background(
    command: Sequence[str], lab: labs.Lab, checkout: Path = CHECKOUT
) -> Iterator[subprocess.Popen[bytes]]:
    """A command, run from a checkout for a lab until the block ends."""
    with subprocess.Popen(
        command, cwd=checkout, env={**os.environ, "ANTMEDIA_LAB": lab.name},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextlib.contextmanager
def publishing(deployment: Deployment, name: str, base: str = STREAM) -> Iterator[subprocess.Popen[bytes]]:
    """A viewer's machine that sends a test picture until the block ends."""
    with in_background(
        [
            sys.executable, "-m", "lab", "--lab", deployment.lab.name, "client", "--",
            "ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=15",
            "-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-g", "15", "-f", "flv", f"{base}/{name}",
        ],
        deployment.lab,
    ) as sending:  # fmt: skip
        yield sending


def frames_played(deployment: Deployment, url: str) -> int:
    """How many frames of two seconds of a stream arrive. A player that waits for more of a playlist gives up."""
    trusting = ["-tls_verify", "0"] if url.startswith("https:") else []
    played = deployment.lab.client(
        "timeout", "60", "ffmpeg", "-v", "error", *trusting, "-rw_timeout", "5000000", "-i", url, "-t", "2",
        "-progress", "-", "-f", "null", "-",
        check=False,
    ).stdout  # fmt: skip
    return int((re.findall(r"^frame=(\d+)", played, re.MULTILINE) or [0])[-1])
