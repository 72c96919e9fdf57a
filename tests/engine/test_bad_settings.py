"""A stack file with mistakes before the real engine: one message, nothing registered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.pulumi_cli import Engine, EngineError

pytestmark = pytest.mark.engine

PASSWORD = "hunter2"
MISTAKES = {
    "antmedia:domian": ("live.example.test", "live.example.test"),
    "antmedia:domain": ("not a domain", "not a domain"),
    "antmedia:adminCidrs": (["0.0.0.0/0", "203.0.113.7/24"], "0.0.0.0/0"),
    "antmedia:network": ({"cidr": "172.30.0.1/24", "zones": "two"}, "172.30.0.1/24"),
    "antmedia:media": ({"edges": {"count": 0}}, "0"),
    "antmedia:stats": ({"password": PASSWORD}, "[secret]"),
}


@pytest.fixture
def misconfigured(engine: Engine) -> Iterator[Engine]:
    engine.configure({key: value for key, (value, _) in MISTAKES.items()})
    yield engine
    engine.configure({})


def test_every_mistake_is_in_one_message_and_nothing_is_registered(misconfigured: Engine) -> None:
    with pytest.raises(EngineError) as caught:
        misconfigured.up()
    said = str(caught.value)
    assert "8 mistakes in the configuration; nothing was changed." in said
    for key, (_, held) in MISTAKES.items():
        assert key in said
        assert f"holds     {held}" in said
    assert "did you mean domain?" in said
    assert PASSWORD not in said
    assert "aws:" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"antmedia:loadBalancer": {"maxConnections": 900_000}},
            ("antmedia:loadBalancer.maxConnections", "holds     900000", "at most ", "or choose a larger instanceType"),
        ),
        (
            {"antmedia:media": {"edition": "community"}},
            ("antmedia:media.edges", "cannot form a cluster", "set media.edition to enterprise"),
        ),
    ],
)
def test_keys_that_do_not_go_together_register_nothing(
    engine: Engine, values: dict[str, Any], said: tuple[str, ...]
) -> None:
    engine.configure(values)
    try:
        with pytest.raises(EngineError) as caught:
            engine.up()
    finally:
        engine.configure({})
    for part in said:
        assert part in str(caught.value)
    assert "aws:" not in str(caught.value)
