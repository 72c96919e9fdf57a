"""The host files that two versions of the program make of a stack file, and how they differ."""

from __future__ import annotations

import difflib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
RENDERER: Final = Path(__file__).with_name("host_files.py")
FIRST: Final = "haproxy.cfg"
WORKING_TREE: Final = "working tree"


class ReviewError(Exception):
    """There is nothing to review. The text says what to do."""


@dataclass(frozen=True)
class Rendering:
    """What one version of the program makes of one version of the stack file."""

    files: Mapping[str, str] | None
    """By name; None where there is no such stack file, or it cannot be rendered."""
    problem: str = ""
    """Why it cannot be rendered."""

    @property
    def is_missing(self) -> bool:
        """Whether there is no such stack file."""
        return self.files is None and not self.problem


@dataclass(frozen=True)
class FileDiff:
    """A host file that the two make differently."""

    name: str
    text: str
    """A unified diff."""


def of_working_tree(stack: str, config_file: Path | None = None) -> Rendering:
    """Rendered by the checkout as it is, committed or not. `config_file` is for a stack file that is not in stacks/."""
    return _render(CHECKOUT, stack, *([config_file.parent] if config_file else []))


def of_commit(ref: str, stack: str, repository: Path = CHECKOUT) -> Rendering:
    """Rendered by the program of a commit, from its own stack file.

    Raises:
        ReviewError: there is no such commit, or no repository.
    """
    with tempfile.TemporaryDirectory(prefix="antmedia-review-") as made:
        tree = Path(made)
        archive = _git(repository, ref, "archive", "--format=tar", _commit(repository, ref))
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(tree, filter="data")
        return _render(tree, stack)


def _commit(repository: Path, ref: str) -> str:
    named = _git(repository, ref, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    return named.decode().strip()


def _git(repository: Path, ref: str, *words: str) -> bytes:
    done = subprocess.run(["git", *words], cwd=repository, capture_output=True, check=False)
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode(errors="replace").strip()
    raise ReviewError(
        f"{said or f'There is no commit {ref!r} in this repository.'}\n"
        f"BASE is what the working tree is compared with: a branch, a tag or a commit that is here "
        f"(git fetch origin main, then BASE=origin/main)."
    )


def _render(tree: Path, stack: str, *folder: Path) -> Rendering:
    # The person's own PYTHONPATH would mix the two programs.
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-P", str(RENDERER), stack, *map(str, folder)],
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Rendering(None, f"Its program cannot be run with the packages of this checkout: {last}")
    found = json.loads(done.stdout)
    return Rendering(found.get("files"), found.get("problem", ""))


def differences(base: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[FileDiff]:
    """Each file that differs, haproxy.cfg first, then in the order of the newer program."""
    names = sorted(dict.fromkeys([*after, *before]), key=lambda name: name != FIRST)
    found = []
    for name in names:
        lines = difflib.unified_diff(
            before.get(name, "").splitlines(),
            after.get(name, "").splitlines(),
            f"{name}  {base}" if name in before else "/dev/null",
            f"{name}  {WORKING_TREE}" if name in after else "/dev/null",
            lineterm="",
        )
        if text := "\n".join(lines):
            found.append(FileDiff(name, text))
    return found
