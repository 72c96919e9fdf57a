"""Bad stack files before the real engine: they make one message and register nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import stack_files
from tests.engine.pulumi_cli import STACK, Engine, EngineError, Trial

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


@pytest.mark.parametrize("file", stack_files.BAD, ids=lambda file: file.stem)
def test_a_bad_stack_file_is_refused_word_for_word_and_registers_nothing(
    file: Path, tried: Callable[[Path], Trial]
) -> None:
    trial, expected = tried(file), stack_files.expected(file)
    assert not trial.accepted
    # To ask AWS something, the engine starts the provider.
    assert [kind for kind, _ in trial.registered if kind != "pulumi:providers:aws"] == []
    if stack_files.told_by_the_program(file):
        # The engine adds that the program ended.
        first, *_ = (text for severity, text in trial.told if severity == "error")
        assert first.strip() == f"stack {STACK}: {expected}".strip()
        for line in filter(None, map(str.strip, expected.splitlines())):
            assert line in trial.said
    else:
        assert expected.strip() in trial.said
    assert "Traceback" not in trial.said
