"""Text inside Markdown pages."""

from __future__ import annotations

import re


def fenced(text: str, language: str = "") -> str:
    """A code block; its fence is longer than any in the text, which so cannot end it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
