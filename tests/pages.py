"""What the tests read in the project's own pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
_BLOCK: Final = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block, and the heading that it is under."""

    heading: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for block in _BLOCK.finditer(page):
        headings = _HEADING.findall(without_blocks(page[: block.start()]))
        text = re.sub(rf"^{block[1]}", "", block[3], flags=re.MULTILINE)
        found.append(Block(headings[-1] if headings else "", block[2], text))
    return found


def without_blocks(page: str) -> str:
    """The page's own words."""
    return _BLOCK.sub("", page)


def anchors(page: str) -> set[str]:
    """What a link may name after #, as GitHub makes it of headings."""
    titles = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", title) for title in _HEADING.findall(without_blocks(page)))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
