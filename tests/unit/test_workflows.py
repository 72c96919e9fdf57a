"""The workflows: what actionlint does not say of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "workflows"
WORKFLOWS = {file.stem: yaml.safe_load(file.read_text()) for file in sorted(FOLDER.glob("*.yml"))}
JOBS = [(f"{name}/{job}", content) for name in WORKFLOWS for job, content in WORKFLOWS[name]["jobs"].items()]
every_job = pytest.mark.parametrize(("job", "content"), JOBS, ids=[each[0] for each in JOBS])
"""Each with its workflow's name."""

LONG_LIVED = re.compile(r"AWS_(ACCESS|SECRET)|aws-access-key|aws-secret", re.IGNORECASE)
UPDATES = re.compile(r"tools/pulumi (up|destroy|refresh)|make drift|preview .*--refresh")


def steps(content: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = content["steps"]
    return found


def strings(value: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


@every_job
def test_each_action_is_a_full_release(job: str, content: Any) -> None:
    for step in steps(content):
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@v\d+\.\d+\.\d+", step.get("uses", "a/b@v1.2.3")), step


@every_job
def test_each_job_says_what_it_may_do_and_how_long(job: str, content: Any) -> None:
    assert WORKFLOWS[job.partition("/")[0]]["permissions"] == {}, "nothing but what a job asks for"
    assert content["timeout-minutes"] <= 350
    may = content["permissions"]
    assert may.get("contents", "read") == "read"
    roles = [step for step in steps(content) if "configure-aws-credentials" in step.get("uses", "")]
    assert ("id-token" in may) == bool(roles), "a role is assumed by OpenID Connect, and only that is what it is for"
    tells = " ".join(strings(content))
    assert ("pull-requests" in may) == ("tools.ci.github comment" in tells)
    assert ("issues" in may) == ("tools.ci.github issue" in tells)


@every_job
def test_there_are_no_long_lived_keys(job: str, content: Any) -> None:
    assert not [text for text in strings(content) if LONG_LIVED.search(text)]
    for step in steps(content):
        if "configure-aws-credentials" in step.get("uses", ""):
            assert step["with"].keys() <= {"role-to-assume", "aws-region", "role-duration-seconds"}


@every_job
def test_expressions_reach_a_shell_by_its_environment_only(job: str, content: Any) -> None:
    """So neither a secret nor what a stranger writes is ever part of a command."""
    assert not [step["run"] for step in steps(content) if "${{" in step.get("run", "")]


@every_job
def test_secrets_are_given_to_the_steps_that_need_them_only(job: str, content: Any) -> None:
    assert "secrets." not in str(content.get("env", {}))
    for step in steps(content):
        if "secrets." in str(step):
            assert re.search(r"tools/pulumi|make review|make drift", step["run"]), step
            assert "secrets." not in str({key: value for key, value in step.items() if key != "env"})


@every_job
def test_what_changes_a_stack_or_looks_at_it_runs_one_at_a_time(job: str, content: Any) -> None:
    if UPDATES.search(" ".join(strings(steps(content)))):
        assert content["concurrency"]["group"].startswith("stack-${{ ")
        assert content["concurrency"]["cancel-in-progress"] is False, "a cancelled update is an interrupted one"


@every_job
def test_port_22_is_closed_whatever_happens(job: str, content: Any) -> None:
    opening = [number for number, step in enumerate(steps(content)) if "ssh_access run" in step.get("run", "")]
    if opening:
        after = steps(content)[opening[-1] + 1 :]
        (closing,) = [step for step in after if "ssh_access close" in step.get("run", "")]
        assert closing["if"] == "always()"


@every_job
def test_what_changes_a_stack_waits_for_approval(job: str, content: Any) -> None:
    if re.search(r"tools/pulumi (up|destroy)", " ".join(strings(steps(content)))):
        assert content["environment"] in (content["env"]["STACK"], {"name": content["env"]["STACK"]})


def test_a_fork_gets_neither_secrets_nor_a_role() -> None:
    for name, content in WORKFLOWS["preview"]["jobs"].items():
        has_secrets = "secrets." in str(content) or "id-token" in content["permissions"]
        is_ours = "head.repo.full_name == github.repository" in content.get("if", "")
        assert has_secrets == is_ours, name
    assert "pull_request_target" not in str(WORKFLOWS), "it would run a fork's code with secrets"


def test_a_stack_is_destroyed_only_when_its_name_was_typed_twice() -> None:
    jobs = WORKFLOWS["destroy"]["jobs"]
    assert jobs["destroy"]["needs"] == "confirm"
    assert jobs["destroy"]["env"]["STACK"] == jobs["confirm"]["env"]["STACK"]
    assert jobs["confirm"]["env"]["CONFIRMATION"] == "${{ inputs.confirmation }}"


def test_scripts_in_workflows_are_short() -> None:
    """Longer ones belong into tools/, where they are tested."""
    runs = [step["run"] for _, content in JOBS for step in steps(content) if "run" in step]
    assert max(len(run.splitlines()) for run in runs) <= 5
