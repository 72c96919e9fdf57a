"""Limits of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.limits import ENOUGH, raise_limits

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("before", "after"), [(128, ENOUGH), (ENOUGH, ENOUGH), (65536, 65536)])
def test_a_limit_is_raised_and_never_lowered(tmp_path: Path, before: int, after: int) -> None:
    file = tmp_path / "max_user_instances"
    file.write_text(f"{before}\n")
    raise_limits(file)
    assert int(file.read_text()) == after
