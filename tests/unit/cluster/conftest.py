"""A valid configuration to vary."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster import keys
from cluster.plan import ClusterPlan, plan
from cluster.settings import load

NOW = datetime(2026, 11, 22, tzinfo=UTC)
PRIVATE_KEY = keys.new_private_key()
HOST_KEY = keys.new_private_key()

VALID: dict[str, Any] = {
    "domain": "live.example.com",
    "adminCidrs": ["203.0.113.7/32"],
    "media": {"ami": "ami-0123456789abcdef0"},
    "ssh": {"privateKey": PRIVATE_KEY, "hostKey": HOST_KEY},
    "stats": {"password": "correct-horse-battery"},
    "administrator": {"password": "battery-horse-correct"},
    "databaseLogin": {"password": "horse-battery-correct"},
}


@pytest.fixture
def valid() -> dict[str, Any]:
    """A configuration without a mistake; a copy of its own for each test."""
    return copy.deepcopy(VALID)


@pytest.fixture
def make_plan() -> Callable[..., ClusterPlan]:
    """The plan of the valid configuration with some top-level keys replaced."""

    def make(**replaced: Any) -> ClusterPlan:
        return plan(load({**copy.deepcopy(VALID), **replaced}, now=NOW), project="antmedia", stack="test")

    return make
