"""What the lab says when it cannot start: one sentence with what to do, no traceback, nothing left."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.layout import Layout, layout
from tests.lab.labs import CHECKOUT, Lab, remains
from tests.patience import PATIENCE


@pytest.fixture
def name() -> str:
    return f"t-{secrets.token_hex(3)}"


def _up(name: str, **environment: str) -> str:
    """What `lab/lab up` says on stderr when it fails as it should."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "--lab", name, "up", "--image=debian-13"],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_missing_programs_are_named_with_their_packages(name: str) -> None:
    said = _up(name, PATH="/nonexistent")
    for word in ("nft", "systemd-nspawn", "apt-get install", "nftables", "systemd-container", "iproute2"):
        assert word in said


@pytest.fixture
def small_disk() -> Iterator[Path]:
    where = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(where)], check=True)
    yield where
    subprocess.run(["umount", str(where)], check=True)
    where.rmdir()


def test_a_full_disk_is_named_with_the_way_out(name: str, small_disk: Path) -> None:
    said = _up(name, ANTMEDIA_LAB_STATE=str(small_disk))
    assert str(small_disk) in said and "ANTMEDIA_LAB_STATE" in said
    assert remains(Layout(name, small_disk)) == []


def test_a_state_directory_that_is_none_is_named(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    said = _up(name, ANTMEDIA_LAB_STATE=str(file))
    assert str(file) in said


def test_a_machine_without_cgroup2_is_told_how_to_mount_it(name: str) -> None:
    script = (
        "for where in $(awk '$3 == \"cgroup2\" {print $2}' /proc/mounts); do umount --lazy $where; done; "
        f"exec {sys.executable} -m lab --lab {name} up --image=debian-13"
    )
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 1 and "mount -t cgroup2" in done.stdout + done.stderr
    assert remains(Layout(name, layout().base)) == []


def test_only_root_may() -> None:
    """As another user, who can read neither the checkout nor the Python environment of root: so from a copy."""
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o755)
        for part in ("lab", "tools/provision"):
            shutil.copytree(CHECKOUT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        for command in (["up"], ["down"], ["client", "--", "true"]):
            done = subprocess.run(
                [
                    "setpriv",
                    "--reuid=65534",
                    "--regid=65534",
                    "--clear-groups",
                    "/usr/bin/python3",
                    "-m",
                    "lab",
                    *command,
                ],
                cwd=place,
                env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 1 and "sudo" in done.stderr, done.stderr
            assert "Traceback" not in done.stderr
    finally:
        shutil.rmtree(place)


def test_a_second_lab_of_the_same_name_in_the_foreground_is_refused(lab: Lab) -> None:
    done = lab.command("up", "--foreground", "--image=debian-13", check=False)
    assert done.returncode == 1 and "running already" in done.stderr
    assert lab.status() is not None


def test_an_unknown_image_is_answered_with_those_there_are(lab: Lab, name: str) -> None:
    done = Lab(name).command("up", "--image=windows", check=False)
    assert done.returncode == 1 and "windows" in done.stderr and "debian-13" in done.stderr
