"""Unusual stack files before the real engine: they make the plan that they ask for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.plan import plan
from cluster.settings import load
from tests import stack_files
from tests.engine.pulumi_cli import STACK, Trial

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("file", stack_files.GOOD, ids=lambda file: file.stem)
def test_an_unusual_stack_file_makes_the_plan_that_it_asks_for(file: Path, tried: Callable[[Path], Trial]) -> None:
    trial = tried(file)
    assert trial.accepted, trial.said
    values, secret, _ = stack_files.StackFile(file).configuration()
    wanted = plan(load(values, now=datetime.now(UTC), secret=secret), project="antmedia", stack=STACK)
    hosts = {name for kind, name in trial.registered if kind == "aws:ec2/instance:Instance"}
    assert hosts == {node.name for node in wanted.nodes}
    warnings = [text.strip() for severity, text in trial.told if severity == "warning"]
    assert warnings == stack_files.expected(file).splitlines()
    shown = [text for text in stack_files.StackFile(file).secrets if text in trial.said]
    assert not shown or file.stem == "name-that-is-encrypted", "a secret is shown"
