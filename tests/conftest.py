"""What holds for every tier."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

LONGEST = Path(__file__).parent / "lab" / "test_pages.py"
"""The file that takes longest: begun last, it would keep everybody waiting for it alone."""

# Tests never fail because a machine is slow: `make bench-deploy` measures times.
settings.register_profile("antmedia", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("antmedia")

# Started in the background of a script, this process would ignore Ctrl-C, and so would every program the tests start:
# those that interrupt one would wait for its end instead.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What `make test ARGS=…` was given is not meant for the makes that tests start.
for name in ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL"):
    os.environ.pop(name, None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path != LONGEST)
