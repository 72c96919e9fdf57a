"""What a check comes to."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Result(enum.StrEnum):
    """Of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_LOOKED_AT = "not looked at"


@dataclass(frozen=True)
class Verdict:
    """`saw` is what was seen, or why nothing was; `remedy` is what to do about a failure."""

    result: Result
    saw: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """One thing to look at. Looking takes seconds, and raises nothing."""

    title: str
    look: Callable[[], Verdict]


def passed(saw: str) -> Verdict:
    return Verdict(Result.PASSED, saw)


def failed(saw: str, remedy: str) -> Verdict:
    return Verdict(Result.FAILED, saw, remedy)


def not_looked_at(why: str) -> Verdict:
    return Verdict(Result.NOT_LOOKED_AT, why)


def judged(good: bool, saw: str, remedy: str) -> Verdict:
    """What was seen decides; the remedy is for when it is not good."""
    return passed(saw) if good else failed(saw, remedy)


def exit_code(found: Sequence[Verdict]) -> int:
    """0 when nothing failed, 2 otherwise."""
    return 2 if any(verdict.result is Result.FAILED for verdict in found) else 0
