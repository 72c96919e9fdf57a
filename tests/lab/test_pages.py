"""The shell blocks of README.md and docs/operations.md, typed word by word, in the order of the page."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.lab.deployments import DOMAIN, Deployment, prepare
from tests.lab.labs import CHECKOUT, eventually

STACK: Final = "lab-cluster"
"""What `mine` stands for here."""

NOT_HERE: Final = {
    "make test": "this is a part of it",
    "aws s3api create-bucket": "keys of KMS are AWS's own: the page says that this was not tried",
}
"""Blocks or lines that cannot be typed here, by how they begin, and why."""

BUCKET: Final = "example-antmedia-backups"

SECONDS: Final = 900.0


@dataclass(frozen=True)
class Block:
    """What a page has a person type."""

    page: str
    heading: str
    text: str

    @property
    def name(self) -> str:
        first = self.text.split("#")[0].splitlines()[0].strip()
        return re.sub(r"[^\w=.-]+", "-", f"{self.page}: {first}")


def blocks(page: str) -> list[Block]:
    """In their order."""
    found, heading = [], ""
    for part in re.finditer(r"(?ms)^## ([^\n]+)$|^```sh\n(.*?)^```$", (CHECKOUT / page).read_text()):
        heading = part[1] or heading
        if part[2]:
            found.append(Block(page, heading, part[2]))
    return found


README: Final = blocks("README.md")
OPERATIONS: Final = blocks("docs/operations.md")
# What destroys the stack comes last, wherever the page has it.
IN_TURN: Final = sorted(OPERATIONS, key=lambda block: "destroy" in block.text)


def typed(deployment: Deployment, text: str, answers: str = "y\nexit\n") -> str:
    """What a terminal shows when the text is typed there; fails where the last command does, or any before it.

    `answers` are typed into whatever asks. Confirmations of Pulumi's own are answered by its environment variable.
    """
    env = {**os.environ, "ANTMEDIA_LAB": deployment.lab.name, "PULUMI_SKIP_CONFIRMATIONS": "true", "TERM": "dumb"}
    ours, theirs = pty.openpty()
    said = b""
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=deployment.checkout, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as running:  # fmt: skip
        os.close(theirs)
        os.write(ours, answers.encode())
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                said += os.read(ours, 65536)
            except OSError:  # its last user is gone
                break
        else:
            running.kill()
        os.close(ours)
    shown = said.decode(errors="replace")
    assert running.returncode == 0, f"{text}\nexit {running.returncode}\n{shown[-6000:]}"
    return shown


def as_here(block: Block) -> str:
    """The block for this stack, without the lines that cannot be typed here."""
    text = re.sub(r"\bmine\b", STACK, block.text)
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(tuple(NOT_HERE)))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """With what the page says comes before its blocks: a bucket for backups, and a certificate of one's own."""
    made = prepare(tmp_path_factory.mktemp("pages"), STACK)
    made.edit(lambda config: config["antmedia:media"].update(drainMinutes=1))
    made.edit(lambda config: config["antmedia:database"].update(backup={"bucket": BUCKET, "hour": 3}))
    names = f"subjectAltName=DNS:{DOMAIN},DNS:www.example.test"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "chain.pem",
         "-days", "90", "-subj", f"/CN={DOMAIN}", "-addext", names],
        cwd=made.checkout, check=True, capture_output=True,
    )  # fmt: skip
    try:
        made.run("make", "tools")
        made.run("lab/lab", "up")
        made.lab.api("s3").create_bucket(Bucket=BUCKET)
        made.make_up()
        yield made
    finally:
        made.lab.down()


def test_the_commands_of_readme_make_a_deployment_that_serves(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = prepare(tmp_path_factory.mktemp("readme"))
    try:
        for block in README:
            shown = typed(made, as_here(block))
            url = re.search(r"(?m)^ +url +(\S+)", shown)
            assert url, shown
            assert "LiveApp" in made.fetch(url[1], "-L")
    finally:
        made.lab.down()


@pytest.mark.parametrize("block", IN_TURN, ids=lambda block: block.name)
def test_the_commands_of_operations_do_what_they_say(deployment: Deployment, block: Block) -> None:
    text = as_here(block)
    if block.text.startswith(tuple(NOT_HERE)):
        pytest.skip(next(why for begins, why in NOT_HERE.items() if block.text.startswith(begins)))
    if text.startswith("antmedia-"):  # on a host, as root
        deployment.lab.host("db-1", "bash", "-euo", "pipefail", "-c", text)
    else:
        typed(deployment, text)
    if "destroy" in text:
        left = deployment.lab.objects()
        assert left.keys() <= {"snapshots", "buckets", "s3 buckets"}, left
    else:
        page = f"https://{DOMAIN}/LiveApp/"
        eventually(lambda: deployment.fetch(page, "-o", "/dev/null", "-w", "%{http_code}"), "200", 30)
