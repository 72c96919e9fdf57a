"""The real programs that will read what the product writes: HAProxy, cloud-init and shellcheck of Debian 13.

They run in a throw-away copy of the lab's `haproxy` image, without network, so that a test sees the versions that the
hosts have and not those of the machine it runs on.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from lab import images

IMAGE = "haproxy"
SECONDS = 120.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.config)


class HaproxyCheck(Protocol):
    """`haproxy -c` on files by their absolute path on the host."""

    def __call__(
        self, files: Mapping[str, str], extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Checks `files`, in their order, together; `extra` files are there but are no configuration.

        Where the configuration names a certificate (`crt PATH`) that neither holds, a self-signed one lies there.
        The result's stdout is all that HAProxy said; a configuration without any fault leaves no [WARNING] in it.
        """


class TextCheck(Protocol):
    """A program's verdict on one text."""

    def __call__(self, text: str) -> subprocess.CompletedProcess[str]:
        """The program's exit status, and all that it said in stdout."""


class ProgramRunner(Protocol):
    """Any command in the image, with files by their absolute path in it."""

    def __call__(
        self, argv: list[str], files: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command as root; fails the test when the image cannot be had."""


@pytest.fixture(scope="session", autouse=True)
def _image() -> None:
    try:
        images.ensure(IMAGE)
    except images.ImageError as error:
        pytest.fail(f"these tests run HAProxy, cloud-init and shellcheck of Debian 13: {error}", pytrace=False)


@pytest.fixture
def run_on_debian(tmp_path: Path) -> ProgramRunner:
    """Runs a command of Debian 13 on given files."""

    def run(
        argv: list[str], files: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        binds: dict[Path, str] = {}
        for number, (target, text) in enumerate((files or {}).items()):
            source = tmp_path / f"file-{number}"
            source.write_text(text)
            binds[source] = target
        try:
            return images.run(IMAGE, argv, stdin=stdin, binds=binds, timeout_seconds=SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{argv[0]} did not end within {SECONDS:.0f} s", pytrace=False)

    return run


@pytest.fixture(scope="session")
def self_signed_pem() -> str:
    """A certificate for lab.test and its key in one file, as HAProxy reads it."""
    made = images.run(
        IMAGE,
        [
            "sh",
            "-c",
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            "-subj /CN=lab.test -addext subjectAltName=DNS:lab.test -keyout /tmp/key -out /tmp/crt 2>/tmp/log "
            "&& cat /tmp/crt /tmp/key || { cat /tmp/log; exit 1; }",
        ],
    )
    if made.returncode:
        pytest.fail(f"openssl could not make a certificate: {made.stdout}{made.stderr}", pytrace=False)
    return made.stdout


@pytest.fixture
def haproxy_check(run_on_debian: ProgramRunner, self_signed_pem: str) -> HaproxyCheck:
    """`haproxy -c` on configuration files."""

    def check(files: Mapping[str, str], extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        present = {**files, **(extra or {})}
        for text in files.values():
            for named in re.findall(r"\bcrt\s+(/\S+)", text):
                present.setdefault(named + "self-signed.pem" if named.endswith("/") else named, self_signed_pem)
        arguments = [argument for path in files for argument in ("-f", path)]
        return _joined(run_on_debian(["haproxy", "-c", *arguments], present))

    return check


@pytest.fixture
def cloud_init_schema(run_on_debian: ProgramRunner) -> TextCheck:
    """`cloud-init schema` on user data."""

    def check(text: str) -> subprocess.CompletedProcess[str]:
        return _joined(
            run_on_debian(["cloud-init", "schema", "--annotate", "--config-file", "/user-data"], {"/user-data": text})
        )

    return check


@pytest.fixture
def shellcheck(run_on_debian: ProgramRunner) -> TextCheck:
    """shellcheck on a script."""

    def check(text: str) -> subprocess.CompletedProcess[str]:
        return _joined(run_on_debian(["shellcheck", "--format=gcc", "-"], stdin=text))

    return check


def _joined(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout + done.stderr, "")
