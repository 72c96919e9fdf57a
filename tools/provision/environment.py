"""The Python environment of program, tests and checks: one per lock file and Python, in the cache."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from tools.provision import cache
from tools.provision.steps import ProvisionError, run, step

NEED_GB = 1.5
FINISHED = ".finished"


def base_python() -> Path:
    """The Python that runs this, outside any virtual environment."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def folder_for(requirements: Path) -> Path:
    """Where the environment with these packages for this Python lies, or will."""
    key = cache.key_of([platform.python_version(), str(base_python())], [requirements])
    return cache.root() / "venv" / key


def is_finished(folder: Path) -> bool:
    return (folder / FINISHED).exists()


def make(folder: Path, requirements: Path) -> None:
    """Make the environment; it cannot be moved afterwards, so a mark and not a rename says that it is whole."""
    if is_finished(folder):
        return
    cache.require_space(folder, NEED_GB, "The Python environment")
    with step(f"the Python environment ({platform.python_version()}), about a minute"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        run([base_python(), "-m", "venv", folder], "make a Python environment")
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--require-hashes"]
        run([folder / "bin" / "python", *pip, "-r", requirements], "install the Python packages")
        (folder / FINISHED).touch()


def link(checkout: Path, folder: Path) -> None:
    """Make .venv in the checkout a link to the environment. Raises ProvisionError when .venv is something else."""
    place = checkout / ".venv"
    if place.exists() and not place.is_symlink():
        raise ProvisionError(
            f"{place} is an environment (made by `pulumi install`?), where a link to the cached one is to be: "
            "remove it (rm -r .venv) and run this again."
        )
    cache.point(place, str(folder))
