"""Labs of the tests' own, with names of their own: a person's lab on this machine is left alone.

`lab` is one lab for the whole session. Tests that break a controller make theirs with `new_lab`.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import labs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Iterator[labs.Lab]:
    """One lab for all tests; what a test makes in its account, it takes away."""
    made = labs.start(f"t-{secrets.token_hex(3)}")
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
def new_lab() -> Iterator[Callable[[], labs.Lab]]:
    """Makes labs of which nothing is left after the test."""
    made: list[labs.Lab] = []

    def make() -> labs.Lab:
        made.append(labs.start(f"t-{secrets.token_hex(3)}", "debian-13"))
        return made[-1]

    yield make
    for each in made:
        each.down()


_PREFIXES = (f"10.{number}" for number in itertools.count(70))


@pytest.fixture(scope="module")
def network(lab: labs.Lab) -> Iterator[labs.Network]:
    """A VPC for one module of tests."""
    made = labs.make_network(lab, next(_PREFIXES))
    yield made
    made.remove()
