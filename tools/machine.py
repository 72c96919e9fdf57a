#!/usr/bin/env python3
"""Have the Debian packages that the lab needs: found, or installed with apt-get. Standard library only.

`machine.py test` has those of the tests too, `machine.py lab-ams` those of that stack. Needs root, as the lab does: it
makes network namespaces and boots hosts.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

PROGRAMS: Final = {
    "curl": "curl",
    "debootstrap": "debootstrap",
    "ffmpeg": "ffmpeg",
    "git": "git",
    "gpg": "gnupg",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
}
"""Program: the Debian package that has it."""

REAL_SERVER: Final = {"mvn": "maven"}
"""What the image with the real Ant Media Server is fetched with."""

MORE: Final = {
    "lab-ams": REAL_SERVER,
    "test": {**REAL_SERVER, "chromedriver": "chromium-driver", "chromium": "chromium"},
}
"""What is needed besides, by what for: a stack, or the tests."""

MODULES: Final = {"ensurepip": "python3-venv"}
"""Module of the system's Python: the Debian package that has it."""


def missing(wanted: Mapping[str, str]) -> list[str]:
    """The packages that have to be installed, in order."""
    programs = {package for program, package in wanted.items() if shutil.which(program) is None}
    modules = {package for module, package in MODULES.items() if importlib.util.find_spec(module) is None}
    return sorted(programs | modules)


def main() -> int:
    """Install what is missing, or say in one sentence what to do."""
    if os.geteuid() != 0:
        print(
            "The lab boots hosts and makes network namespaces, so it needs root: run this again as root, or with sudo.",
            file=sys.stderr,
        )
        return 1
    packages = missing(PROGRAMS | MORE.get(" ".join(sys.argv[1:]), {}))
    if not packages:
        return 0
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        print(f"This machine is not a Debian one. Install what holds these by hand: {names}.", file=sys.stderr)
        return 1
    print(f"Installing Debian packages: {names}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout[-3000:], file=sys.stderr)
            print(f"apt-get failed. Mend what it says above, or install by hand: {names}.", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
