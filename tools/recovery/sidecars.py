"""The `.attrs` file that a backend of files keeps beside each of its files.

It is emptied and then written. An engine that is killed between the two leaves it empty, and every command fails with
`failed to load checkpoint: EOF`, although the state itself, which is replaced at once, is whole. What it holds, a type
and a checksum, is not needed: without it the state is read as well.
"""

from __future__ import annotations

import json
from pathlib import Path

from tools.recovery import locks


def damaged(backend: str, project: str, stack: str) -> list[Path]:
    """Those of a stack's state that cannot be read. None in a backend that is not of files."""
    directory = locks.directory(backend)
    if directory is None:
        return []
    places = [directory / ".pulumi" / "stacks" / project, locks.place(directory, project, stack)]
    names = (f"{stack}.json*.attrs", "*.attrs")
    found = [file for place, name in zip(places, names, strict=True) for file in sorted(place.glob(name))]
    return [file for file in found if not _is_whole(file)]


def _is_whole(file: Path) -> bool:
    try:
        json.loads(file.read_text())
    except ValueError:
        return False
    return True
