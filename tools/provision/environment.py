"""The Python environment of program, tests and checks: one per lock file and Python, in the cache."""

from __future__ import annotations

import platform
import re
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
    with step(f"the Python environment ({platform.python_version()})"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        run([base_python(), "-m", "venv", folder], "make a Python environment")
        python = str(folder / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        only_uv = folder / "uv.txt"
        only_uv.write_text(locked_lines(requirements.read_text(), "uv"))
        try:  # uv takes a tenth of pip's time, but knows nothing of pip's settings: an index of one's own, say
            run([*pip, "--require-hashes", "-r", only_uv], "install uv")
            uv = [str(folder / "bin" / "uv"), "pip", "install", "--quiet", "--python", python, "--require-hashes"]
            run([*uv, "-r", requirements], "install the Python packages by uv")
        except ProvisionError:
            run([*pip, "--require-hashes", "-r", requirements], "install the Python packages")
        (folder / FINISHED).touch()


def locked_lines(requirements: str, package: str) -> str:
    """The lines of a lock file that are about one package: its version and hashes."""
    found = re.search(rf"^{re.escape(package)}==.*(?:\n    --hash=.*)+\n", requirements, re.M)
    return found[0] if found else ""


def link(checkout: Path, folder: Path) -> None:
    """Make .venv in the checkout a link to the environment. Raises ProvisionError when .venv is something else."""
    place = checkout / ".venv"
    if place.exists() and not place.is_symlink():
        raise ProvisionError(
            f"{place} is an environment (made by `pulumi install`?), where a link to the cached one is to be: "
            "remove it (rm -r .venv) and run this again."
        )
    cache.point(place, str(folder))
