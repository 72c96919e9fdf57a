"""The arithmetic of repeated measurements."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.bench.inside import interval


@dataclass(frozen=True)
class Estimate:
    """A median with its 95 % interval."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


def estimate(values: Sequence[float]) -> Estimate:
    """Of a figure that was measured several times. With fewer than six values the interval is their whole range."""
    return Estimate(statistics.median(values), *interval(list(values)))


def ratio(pairs: Sequence[tuple[float, float]]) -> Estimate:
    """Of the first to the second, pair by pair, so that a drift of the machine's speed meets both."""
    return estimate([first / second for first, second in pairs])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By least squares: how much y grows when x grows by one."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def middles(found: Mapping[str, Estimate]) -> dict[str, float]:
    """The medians alone, for other programs."""
    return {key: round(value.middle, 3) for key, value in found.items()}


def estimates_table(found: Mapping[str, Estimate], words: Mapping[str, str], targets: Mapping[str, float]) -> list[str]:
    """Lines of Markdown: each figure in words, with what it is to be at most."""
    lines = ["| | median, its interval (95 %) | at most |", "|---|---|---|"]
    return lines + [f"| {words[key]} | {value} | {targets[key]:g} |" for key, value in found.items()]


def differences(ours: dict[str, int], theirs: dict[str, int]) -> list[str]:
    """What two accounts hold in different numbers, by kind, as sentences."""
    return [
        f"{kind}: {ours.get(kind, 0)} and {theirs.get(kind, 0)}"
        for kind in sorted(ours.keys() | theirs.keys())
        if ours.get(kind, 0) != theirs.get(kind, 0)
    ]
