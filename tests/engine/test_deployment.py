"""A deployment by the real engine: made, left alone, meddled with, and taken away."""

from __future__ import annotations

import pytest

from tests.engine.pulumi_cli import Engine, Run

pytestmark = pytest.mark.engine


def test_a_second_preview_shows_no_changes(engine: Engine, first_up: Run) -> None:
    assert not engine.preview().changes
