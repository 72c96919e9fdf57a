#!/usr/bin/env python3
"""comment.py PREVIEW STACK: a preview's output as a pull request's comment, cut where the comment would be too long."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

LONGEST: Final = 60_000
"""Characters; GitHub takes 65,536."""


def comment(preview: str, stack: str) -> str:
    """Markdown. A fence longer than any in the preview keeps the preview from ending it."""
    longest_run = max((len(run) for run in preview.replace("\n", " ").split() if set(run) == {"`"}), default=0)
    fence = "`" * max(3, longest_run + 1)
    shown = preview.strip()
    note = ""
    if len(shown) > LONGEST:
        note = f"\n\n{len(shown) - LONGEST} more characters are in the job's log."
        shown = shown[:LONGEST]
    return f"### Preview of the stack {stack}\n\n{fence}diff\n{shown}\n{fence}{note}\n"


if __name__ == "__main__":
    print(comment(Path(sys.argv[1]).read_text(), sys.argv[2]), end="")
