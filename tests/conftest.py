"""What holds for every tier."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
LAB = TESTS / "lab"

FIRST = (LAB / "test_pages.py", TESTS / "engine/test_recovery.py", LAB / "test_monitoring.py")
"""The files that take longest or mostly wait: begun last, they would keep everybody waiting for them alone."""

PATIENT = 3
"""How nice the tests are that have no hosts: several files run at once, and a live stream in a lab must not falter."""

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
    """Files of labs, which wait much, alternate with those that keep the processors busy."""
    files = [file for file in dict.fromkeys(item.path for item in items) if file not in FIRST]
    labs = [file for file in files if file.is_relative_to(LAB)]
    others = [file for file in files if not file.is_relative_to(LAB)]
    pairs = itertools.zip_longest(labs, others)
    order = {file: number for number, file in enumerate(itertools.chain(FIRST, *pairs))}
    items.sort(key=lambda item: order[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What a test starts is as nice as its test."""
    if os.geteuid() == 0:  # others could not take it back
        os.setpriority(os.PRIO_PROCESS, 0, 0 if item.path.is_relative_to(LAB) else PATIENT)
    return (yield)
