"""The pages, followed word by word: each shell block of README.md, of docs/operations.md and of a stack's own page, in
the order in which a reader meets them, on a machine of the lab.

What a reader puts in place of an example is `INSTEAD`; what a reader has before, such as a bucket, the fixtures make.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab import media
from tests.lab.deployments import DOMAIN, Deployment, frames_played, in_background, prepare
from tests.lab.labs import CHECKOUT, eventually
from tests.pages import Block, blocks
from tests.unit.cluster.certificates import provide

BUCKET = "example-antmedia-backups"
INSTEAD = {
    "live.example.com": DOMAIN,
    "203.0.113.7/32": "192.0.2.20/32",
    "--ami ami-0123456789abcdef0": "--ami ami-0ddd0000000000001 --like lab-cluster",
    "ami-0fedcba9876543210": media.ANOTHER_STAND_IN,
    # Who asks before it acts, and there is nobody to answer.
    "make repair STACK=mine": "make repair ARGS=--yes STACK=mine",
    # The folder that --local means is of the account that runs this, whatever HOME says.
    "login --local": 'login "file://$HOME"',
}
BLOCK_SECONDS = 900


def page(name: str) -> list[Block]:
    """The shell blocks of a page."""
    return [block for block in blocks((CHECKOUT / name).read_text()) if block.language == "sh"]


TRY, *ON_AWS = page("README.md")
OPERATIONS = page("docs/operations.md")


@dataclass
class Reader:
    """Who follows the pages: in one shell after another, with what the one before has exported."""

    deployment: Deployment
    home: Path

    @property
    def _exported(self) -> Path:
        return self.home / "exported"

    def follow(self, text: str) -> str:
        """Run a block; what it printed. A failure fails the test."""
        for example, own in INSTEAD.items():
            text = text.replace(example, own)
        script = (
            f"set -euo pipefail\n[[ ! -e {self._exported} ]] || . {self._exported}\n{text}\nexport -p >{self._exported}"
        )
        done = subprocess.run(
            ["ip", "netns", "exec", self.deployment.lab.name, "bash", "-c", script],
            cwd=self.deployment.checkout, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=BLOCK_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.fail(f"exit {done.returncode}\n{text}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}", pytrace=False)
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """A person's own, whose machine trusts the lab's certificates, and who answers Pulumi's questions with yes."""
        cache = os.environ.get("ANTMEDIA_CACHE") or str(Path.home() / ".cache/antmedia")
        return {
            **os.environ, "ANTMEDIA_LAB": self.deployment.lab.name, "ANTMEDIA_CACHE": cache, "HOME": str(self.home),
            "PULUMI_SKIP_CONFIRMATIONS": "true", "SSL_CERT_FILE": str(self.home / "root.pem"),
        }  # fmt: skip


def test_the_first_block_is_what_other_tests_follow() -> None:
    """`make up` and the commands that it tells: test_deployment.py; `make test` is what runs this."""
    assert [line.partition("#")[0].strip() for line in TRY.text.splitlines()] == ["make up", "make test"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """In a lab, with the program in a repository of their own, and with a bucket."""
    folder = tmp_path_factory.mktemp("reader")
    made = prepare(folder, "mine")
    example = made.checkout / "stacks/Pulumi.lab-cluster.yaml"
    smaller = example.read_text().replace("origins: { count: 2", "origins: { count: 1")
    example.write_text(smaller.replace("edges: { count: 3", "edges: { count: 2"))
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", *command], cwd=made.checkout, check=True
        )
    home = folder / "home"
    home.mkdir()
    try:
        made.lab.command("up", seconds=1200.0)
        made.lab.api("s3").create_bucket(Bucket=BUCKET)
        (home / "root.pem").write_text(made.lab.command("acme", "root").stdout)
        certificate = provide([DOMAIN])
        (made.checkout / "chain.pem").write_text(certificate.chain)
        (made.checkout / "key.pem").write_text(certificate.key)
        yield Reader(made, home)
    finally:
        made.lab.down()


def is_trusted(reader: Reader) -> bool:
    """Whether viewers are served the certificate that was ordered."""
    ask = ["curl", "-s", "-m", "5", "-o", "/dev/null", "--cacert", str(reader.home / "root.pem"), f"https://{DOMAIN}/"]
    return reader.deployment.lab.client(*ask, check=False).returncode == 0


def is_playing(reader: Reader, url: str) -> bool:
    return frames_played(reader.deployment, url) >= 25


def numbered(found: list[Block]) -> list[Any]:
    return [pytest.param(block, id=f"{number}: {block.heading}") for number, block in enumerate(found, 1)]


@pytest.mark.parametrize("block", numbered(ON_AWS))
def test_the_readme(reader: Reader, block: Block) -> None:
    said = reader.follow(block.text)
    if "make new-stack" in block.text:
        # The lab's repository has a key that is made with it.
        key = reader.deployment.lab.layout.packages_key
        reader.follow(f"tools/pulumi config set --path antmedia:database.packageSource.key -s mine <{key}")
        reader.follow("git add stacks && git -c user.name=a -c user.email=a@b.invalid commit -q -m Stack")
    if "tools/pulumi up" in block.text:
        assert f"{DOMAIN} A 198.51.100." in said
        eventually(lambda: is_trusted(reader), True, 60, pause=1.0)
    if "output readme" in block.text:
        (reader.home / "page.md").write_text(said)


def test_the_stacks_own_page(reader: Reader) -> None:
    told = {block.heading: block.text for block in blocks((reader.home / "page.md").read_text())}
    assert set(told) == {"Publish", "Play", "Look after it"}
    publisher = [sys.executable, "-m", "lab", "--lab", reader.deployment.lab.name, "client", "--", "bash", "-c"]
    with in_background([*publisher, told["Publish"]], reader.deployment.lab):
        for line in told["Play"].splitlines():
            program, url = line.split()
            assert program == "ffplay"  # which needs a screen
            eventually(partial(is_playing, reader, url), True, 60, pause=1.0)
    reader.follow(told["Look after it"])


@pytest.mark.parametrize("block", numbered([block for block in OPERATIONS if block.heading != "Removing everything"]))
def test_operations(reader: Reader, block: Block) -> None:
    said = reader.follow(block.text)
    if wanted := re.search(r"edges\.count (\d)", block.text):
        status = json.loads(reader.follow("make status STACK=mine ARGS=--json"))
        up = [node for node in status["nodes"] if node["role"] == "edge" and node["state"] == "up"]
        assert len(up) == int(wanted[1])
    if "tls.mode letsencrypt" in block.text:
        eventually(lambda: is_trusted(reader), True, 90, pause=1.0)
    if "antmedia-database list" in block.text:
        assert f"{time.gmtime().tm_year}-" in said


def test_after_all_of_it_nothing_is_different_and_it_serves(reader: Reader) -> None:
    reader.follow("tools/pulumi preview -s mine --expect-no-changes")
    eventually(lambda: is_trusted(reader), True, 60, pause=1.0)
    reader.follow("make drift STACK=mine && make doctor STACK=mine")


def test_in_the_end_nothing_is_left_but_what_the_page_says(reader: Reader) -> None:
    (block,) = [block for block in OPERATIONS if block.heading == "Removing everything"]
    reader.follow(block.text)
    left = reader.deployment.lab.objects()
    assert {kind: len(names) for kind, names in left.items()} == {"s3 buckets": 1, "ec2 snapshots": 1}
