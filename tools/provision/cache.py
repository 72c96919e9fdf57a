"""The cache outside the checkout: where things lie, how they are keyed, locked, put in place and thrown away."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.provision.steps import ProvisionError, held_by_children, say

KEY_LENGTH = 16
# Each tool chain takes about 350 MB; a branch or two may each want theirs.
KEPT_GENERATIONS = 3


def root() -> Path:
    """The cache's folder: $ANTMEDIA_CACHE, else antmedia in the XDG cache folder."""
    if own := os.environ.get("ANTMEDIA_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "antmedia"


def key_of(parts: Iterable[str], files: Iterable[Path]) -> str:
    """A short name for what something is made from: texts, and files with their names and folders."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.parent.name}/{file.name}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()[:KEY_LENGTH]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, waiting for another run if there is one.

    Programs started meanwhile hold it too: should this process be killed, the next run waits for the compiler or pip
    left behind instead of colliding with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say(f"  another run (process {file.read().strip() or 'unknown'}) is at it; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        with held_by_children(file.fileno()):
            yield


def point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` in one step, so that nobody ever finds it missing."""
    if link.is_symlink() and os.readlink(link) == target:  # noqa: PTH115 - compares the text, not a path
        return
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def forget_old(folder: Path, keep: Iterable[str]) -> None:
    """Delete all but the most recently used entries of a folder of keyed entries, never those in `keep`.

    What an interrupted run left goes after a day: nobody came back for it.
    """
    keep = set(keep)
    folders = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
    whole = [entry for entry in folders if len(entry.name) == KEY_LENGTH]
    whole.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    yesterday = time.time() - 24 * 3600
    left = [entry for entry in folders if entry.suffix == ".partial" and entry.stat().st_mtime < yesterday]
    for entry in whole[KEPT_GENERATIONS:] + left:
        if entry.name not in keep:
            shutil.rmtree(entry, ignore_errors=True)


def require_space(folder: Path, need_gb: float, what: str) -> None:
    """Raise ProvisionError when the file system of `folder` has less than `need_gb` (10^9 bytes) free."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < need_gb:
        raise ProvisionError(
            f"{what} needs about {need_gb:g} GB and {existing} has {free_gb:.1f} GB free: free some space, or set "
            "ANTMEDIA_CACHE (and GOCACHE, GOMODCACHE) to folders on a larger disk."
        )
