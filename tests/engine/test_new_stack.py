"""`make new-stack` with the real CLI: a stack that can be previewed at once, and that an interruption leaves whole."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.ec2 import REGION
from tests.engine.pulumi_cli import Engine
from tests.engine.sandbox import CHECKOUT, AwsApi
from tools import stack_secrets

pytestmark = pytest.mark.engine

OPTIONS = (
    "--like", "prod", "--domain", "live.example.com", "--admin-cidr", "203.0.113.7/32", "--region", REGION,
    "--ami", "ami-0ddd0000000000001",
)  # fmt: skip

DEBIAN = "ami-0ccc0000000001302"


@dataclass(frozen=True)
class Copy:
    """A copy of the program, so that this checkout keeps its stack files as they are."""

    folder: Path
    engine: Engine
    environment: Mapping[str, str]

    def command(self, *words: str) -> list[str]:
        return self.engine.namespace.command(*words)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def new_stack(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "tools.new_stack", "mine", *words)

    @property
    def file(self) -> Path:
        return self.folder / "stacks/Pulumi.mine.yaml"


@pytest.fixture(scope="module")
def copy(engine: Engine, aws: AwsApi, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = tmp_path_factory.mktemp("new-stack") / "checkout"
    folder.mkdir()
    for name in ("cluster", "components", "tools", "stacks", "templates"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "build"))
    for name in ("Pulumi.yaml", "Pulumi.README.md", "__main__.py"):
        shutil.copy(CHECKOUT / name, folder / name)
    # Debian's own images are not in the emulated account: the example has the id of one that is.
    example = folder / "stacks/Pulumi.prod.yaml"
    text = re.sub(r"ami: debian-\S+", f"ami: {DEBIAN}", example.read_text())
    example.write_text(text.replace("    mode: managed", f"    ami: {DEBIAN}\n    mode: managed"))
    (folder / ".venv").symlink_to((CHECKOUT / ".venv").resolve())
    (folder.parent / "state").mkdir()
    environment = {
        **engine.environment,
        "PULUMI_BACKEND_URL": f"file://{folder.parent / 'state'}",
        # The EC2 API, as a person's environment would name another one: nothing about it is in the stack file.
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5000",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    return Copy(folder, engine, environment)


@pytest.fixture(scope="module")
def interrupted(copy: Copy) -> Iterator[list[str]]:
    """Killed while it makes secrets; yields what was in stacks/ afterwards."""
    process = subprocess.Popen(
        copy.command(sys.executable, "-m", "tools.new_stack", "mine", *OPTIONS),
        cwd=copy.folder, env=dict(copy.environment), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not any("secure" in file.read_text() for file in _half_made(copy)):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"
    yield sorted(file.name for file in copy.file.parent.iterdir())


@pytest.fixture(scope="module")
def made(copy: Copy, interrupted: list[str]) -> subprocess.CompletedProcess[str]:
    """The same call again."""
    return copy.new_stack(*OPTIONS)


def _half_made(copy: Copy) -> list[Path]:
    return list((copy.folder / "build").glob("new-stack-*/Pulumi.mine.yaml"))


def test_an_interruption_leaves_no_stack_file_and_the_next_call_makes_it(
    copy: Copy, interrupted: list[str], made: subprocess.CompletedProcess[str]
) -> None:
    assert interrupted == sorted(file.name for file in (CHECKOUT / "stacks").iterdir())
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1] == "Next: tools/pulumi preview -s mine --diff"
    config = yaml.safe_load(copy.file.read_text())["config"]
    assert stack_secrets.missing(config) == []
    assert config["antmedia:adminCidrs"] == ["203.0.113.7/32"]
    assert config["antmedia:media"]["origins"] == {"count": 2, "instanceType": "c6i.2xlarge", "volumeGb": 50}


@pytest.mark.usefixtures("made")
def test_comments_of_the_model_are_kept(copy: Copy) -> None:
    assert "# how long a node that is replaced or removed waits for its sessions to end" in copy.file.read_text()


@pytest.mark.usefixtures("made")
def test_a_stack_made_by_options_can_be_previewed_with_nothing_further_edited(copy: Copy) -> None:
    shown = copy.run(sys.executable, "tools/pulumi", "preview", "-s", "mine", "--non-interactive", "--color", "never")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"^ +\+ \d+ to create$", shown.stdout, re.MULTILINE), shown.stdout
    assert "edge-4" in shown.stdout, "as in the example for production"


@pytest.mark.usefixtures("made")
def test_running_it_again_changes_nothing_that_exists(copy: Copy) -> None:
    before = copy.file.read_bytes(), copy.file.stat().st_mtime_ns
    done = copy.new_stack(*OPTIONS, "--domain", "other.example.com")
    assert done.returncode == 0, done.stderr
    assert (copy.file.read_bytes(), copy.file.stat().st_mtime_ns) == before
    assert "its secrets exist: kept as they are" in done.stdout
    assert "not used: --region, --domain, --admin-cidr, --ami" in done.stdout


@pytest.mark.usefixtures("made")
def test_a_secret_that_is_missing_is_added_and_nothing_else_is_touched(copy: Copy) -> None:
    before = yaml.safe_load(copy.file.read_text())
    changed: dict[str, Any] = yaml.safe_load(copy.file.read_text())
    del changed["config"]["antmedia:stats"]
    copy.file.write_text(yaml.safe_dump(changed, sort_keys=False))
    done = copy.new_stack()
    assert "secrets made: antmedia:stats.password" in done.stdout
    after = yaml.safe_load(copy.file.read_text())
    assert after["config"].pop("antmedia:stats").keys() == {"password"}
    del before["config"]["antmedia:stats"]
    assert after == before
