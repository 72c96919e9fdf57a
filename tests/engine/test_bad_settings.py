"""Stack files before the real engine: bad ones make one message and register nothing, good ones make a plan."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.plan import plan
from cluster.settings import load
from tests import stack_files
from tests.engine.pulumi_cli import STACK, Engine, EngineError, Trial
from tests.engine.sandbox import AwsApi, Namespace

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


@pytest.fixture(scope="module")
def trials(
    namespace: Namespace, aws: AwsApi, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[Path, Trial]:
    """A preview of every file that a selected test is about: as many at once as there are processors, and one more."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    files = {found.params["file"] for found in parameters if found and "file" in found.params}
    files.intersection_update([*stack_files.BAD, *stack_files.GOOD])  # other tests have files of their own
    zone = aws.client("route53").create_hosted_zone(Name="example.com", CallerReference="trials")["HostedZone"]["Id"]
    try:
        return _tried(namespace, tmp_path_factory.mktemp("trials"), files)
    finally:
        aws.client("route53").delete_hosted_zone(Id=zone)


def _tried(namespace: Namespace, directory: Path, files: Collection[Path]) -> dict[Path, Trial]:
    # A stack that was never deployed, apart from the one of the other tests.
    engine = Engine(namespace, directory)
    made: dict[Path, stack_files.StackFile] = {}
    for file in sorted(files):
        try:
            made[file] = stack_files.StackFile(file)
        except yaml.YAMLError:
            continue
    encrypted = engine.encrypted(set().union(*(each.secrets for each in made.values())))

    def tried(file: Path) -> Trial:
        text = made[file].text(encrypted.__getitem__) if file in made else file.read_text()
        return engine.try_file(text, file.stem)

    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as several:
        found = dict(zip(files, several.map(tried, files), strict=True))
    assert engine.export()["deployment"].get("resources", []) == [], "a preview left something in the state"
    return found


@pytest.mark.parametrize("file", stack_files.BAD, ids=lambda file: file.stem)
def test_a_bad_stack_file_is_refused_word_for_word_and_registers_nothing(file: Path, trials: dict[Path, Trial]) -> None:
    trial, expected = trials[file], stack_files.expected(file)
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


@pytest.mark.parametrize("file", stack_files.GOOD, ids=lambda file: file.stem)
def test_an_unusual_stack_file_makes_the_plan_that_it_asks_for(file: Path, trials: dict[Path, Trial]) -> None:
    trial = trials[file]
    assert trial.accepted, trial.said
    values, secret, _ = stack_files.StackFile(file).configuration()
    wanted = plan(load(values, now=datetime.now(UTC), secret=secret), project="antmedia", stack=STACK)
    hosts = {name for kind, name in trial.registered if kind == "aws:ec2/instance:Instance"}
    assert hosts == {node.name for node in wanted.nodes}
    warnings = [text.strip() for severity, text in trial.told if severity == "warning"]
    assert warnings == stack_files.expected(file).splitlines()
    shown = [text for text in stack_files.StackFile(file).secrets if text in trial.said]
    assert not shown or file.stem == "name-that-is-encrypted", "a secret is shown"
