"""The benchmarks' arithmetic and their page."""

from __future__ import annotations

import math

import pytest

from tools.bench import with_section
from tools.bench.inside import interval

PAGE = "# Benchmarks\n\nWords.\n\n## make a\n\nold\n\n## make b\n\nkept\n"


def test_a_section_is_replaced_and_the_others_are_kept() -> None:
    assert with_section(PAGE, "a", "new\n") == PAGE.replace("old", "new")


def test_a_new_section_comes_last() -> None:
    assert with_section(PAGE, "c", "text") == PAGE + "\n## make c\n\ntext\n"
    assert with_section("", "c", "text") == "# Benchmarks\n\n## make c\n\ntext\n"


@pytest.mark.parametrize("n", range(1, 60))
def test_the_interval_holds_the_median_with_95_percent(n: int) -> None:
    low, high = interval([float(value) for value in reversed(range(n))])
    outside = sum(math.comb(n, rank) for rank in range(int(low) + 1)) / 2**n
    assert high == n - 1 - low
    # With fewer than six values, not even all of them are enough.
    assert outside <= 0.025 or (n < 6 and low == 0)
    if n >= 6:
        wider = outside + math.comb(n, int(low) + 1) / 2**n
        assert wider > 0.025, "the interval is wider than it must be"
