"""The policy pack before the real engine: the program keeps every rule; each flaw is found by its rule alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from policy.rules import RULES
from tests.engine.pulumi_cli import STACK, Engine
from tests.engine.sandbox import CHECKOUT, AwsApi, Namespace
from tests.engine.test_deployment import secrets_in
from tests.engine.unsound import FLAWS, NAME, SOUND
from tools.review.preview import Preview, read

pytestmark = pytest.mark.engine

RULE = {rule.name: rule for rule in RULES}
PROGRAM = f"""
import sys

sys.path.insert(0, {str(CHECKOUT)!r})
from tests.engine import unsound

unsound.main()
"""

Tried = Callable[..., Preview]


@pytest.fixture(scope="module")
def fresh(namespace: Namespace, aws: AwsApi, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A stack that was never deployed, beside that of the other tests."""
    return Engine(namespace, tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def tried(fresh: Engine, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """Previews the program with a flaw and the pack."""
    project = tmp_path_factory.mktemp("unsound")
    runtime = {"name": "python", "options": {"virtualenv": str(CHECKOUT / ".venv")}}
    (project / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "antmedia", "runtime": runtime}))
    (project / "__main__.py").write_text(PROGRAM)

    def preview(flaw: str, *options: str) -> Preview:
        words = ("--json", "--stack", STACK, "--config-file", str(fresh.config_file), "--non-interactive")
        done = subprocess.run(
            fresh.namespace.command(
                "pulumi", "preview", *words, "--policy-pack", str(CHECKOUT / "policy"), *options, "--color", "never"
            ),
            cwd=project,
            env={**fresh.environment, "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true", NAME: flaw},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not secrets_in(done.stdout + done.stderr, fresh)
        return read(done.stdout.splitlines(), failed=done.returncode != 0, said=done.stderr, has_policy=True)

    return preview


@pytest.fixture(scope="module")
def previews(tried: Tried, request: pytest.FixtureRequest) -> dict[str, Preview]:
    """Of every flaw that a selected test is about: as many at once as there are processors, and one more."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    flaws = sorted({SOUND, *(found.params["flaw"] for found in parameters if found and "flaw" in found.params)})
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as several:
        return dict(zip(flaws, several.map(tried, flaws), strict=True))


def test_the_program_keeps_every_rule(previews: dict[str, Preview]) -> None:
    sound = previews[SOUND]
    assert not sound.failed, sound.errors
    assert sound.findings == ()
    assert sound.changes, "there was something to look at"


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_found_by_the_rule_that_is_there_for_it_and_by_no_other(
    flaw: str, previews: dict[str, Preview]
) -> None:
    preview, rule = previews[flaw], RULE[FLAWS[flaw].rule]
    findings = preview.findings or ()
    assert [each.policy for each in findings] == [rule.name], f"{findings} {preview.errors}"
    (found,) = findings
    assert found.resource.startswith(FLAWS[flaw].name) or found.resource == "vpc"
    assert rule.reason in found.message
    assert rule.remedy in found.message
    assert found.level == ("mandatory" if rule.mandatory else "advisory")
    assert preview.failed == rule.mandatory, preview.errors


def test_every_rule_has_a_flaw() -> None:
    assert {flaw.rule for flaw in FLAWS.values()} == set(RULE)


@pytest.mark.parametrize(("level", "found"), [("advisory", ["advisory"]), ("disabled", [])])
def test_a_person_may_make_a_rule_a_remark_or_switch_it_off(
    level: str, found: list[str], tried: Tried, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"metadata-is-guarded": level}))
    preview = tried("metadata-without-a-token", "--policy-pack-config", str(tmp_path / "config.json"))
    assert not preview.failed, preview.errors
    assert [each.level for each in preview.findings or ()] == found
