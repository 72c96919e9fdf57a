"""Findings as lines of text. Colours say nothing that the words do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from tools.doctor.verdicts import Check, Result, Verdict

_MARKS: Final = {
    Result.PASSED: ("ok  ", "green"),
    Result.FAILED: ("FAIL", "bold red"),
    Result.NOT_LOOKED_AT: ("?   ", "yellow"),
}


def line(check: Check, verdict: Verdict | None) -> RenderableType:
    """A check, and what it came to if that is known yet."""
    if verdict is None:
        return Text(f"…     {check.title}", style="dim")
    mark, colour = _MARKS[verdict.result]
    why = "not looked at: " if verdict.result is Result.NOT_LOOKED_AT else ""
    found = Text.assemble((mark, colour), f"  {check.title}: {why}{verdict.saw}")
    return Group(found, Padding(Text(verdict.remedy), (0, 0, 0, 6))) if verdict.remedy else found


def summary(verdicts: Sequence[Verdict]) -> str:
    """One line."""
    count = Counter(verdict.result for verdict in verdicts)
    return ", ".join(f"{result}: {count[result]}" for result in Result)
