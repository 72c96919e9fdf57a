"""Port 22 for a deployment job: opened beside a real deployment in the EC2 API, no drift of it, and always closed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.pulumi_cli import STACK, Engine
from tests.engine.sandbox import CHECKOUT
from tests.patience import PATIENCE
from tools.ci.ssh_access import DESCRIPTION

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("first_up")]

ADDRESS = "203.0.113.9"


def rules(ec2: Any) -> dict[str, str]:
    """Whom the rules of jobs let in where, by description."""
    found = ec2.describe_security_group_rules()["SecurityGroupRules"]
    return {
        f"{rule['Description']}": f"{rule['CidrIpv4']} {rule['FromPort']}-{rule['ToPort']}"
        for rule in found
        if rule.get("Description", "").startswith(DESCRIPTION)
    }


class Job:
    """`ssh_access run`, with a command that waits until it is told to end with a code, and says what signal it got."""

    def __init__(self, engine: Engine, stack: str = STACK, config_file: Path | None = None) -> None:
        # A signal just before it waits for input is noticed only after: so it waits for a moment at a time.
        waiting = "while read -r -t 1 code; (($? > 128)); do :; done"
        script = f"trap 'echo TERM; exit 7' TERM; echo begun; {waiting}; exit $code"
        access = ["-m", "tools.ci.ssh_access", "run", stack, "--address", ADDRESS]
        file = ["--config-file", str(config_file or engine.config_file)]
        self._process = subprocess.Popen(
            engine.namespace.command(sys.executable, *access, *file, "--", "bash", "-c", script),
            cwd=CHECKOUT,
            env={**engine.environment, "GITHUB_RUN_ID": "42", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, words: str) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if words in line:
                return
        pytest.fail(f"{words!r} was not said")

    def end(self, code: int) -> int:
        self._process.communicate(f"{code}\n", timeout=PATIENCE)
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self) -> tuple[int, str]:
        code = self._process.wait(PATIENCE)  # with its input open, whose end would end the command too
        said, _ = self._process.communicate(timeout=PATIENCE)
        return code, said


def close(engine: Engine) -> str:
    words = ["-m", "tools.ci.ssh_access", "close", STACK, "--config-file", str(engine.config_file)]
    done = subprocess.run(
        engine.namespace.command(sys.executable, *words),
        cwd=CHECKOUT, env=dict(engine.environment), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def closing(engine: Engine) -> Iterator[None]:
    yield
    close(engine)


def test_the_opening_is_no_drift_and_is_closed_with_the_commands_own_exit_code(
    engine: Engine, ec2: Any, closing: None
) -> None:
    before = ec2.describe_security_group_rules()["SecurityGroupRules"]
    job = Job(engine)
    job.wait_for("begun")
    assert rules(ec2) == {f"{DESCRIPTION} 42": f"{ADDRESS}/32 22-22"}
    engine.preview_text("--refresh", "--expect-no-changes")
    engine.up("--expect-no-changes", "--refresh")
    assert rules(ec2), "an update leaves it alone"
    assert job.end(3) == 3
    assert rules(ec2) == {}
    assert len(ec2.describe_security_group_rules()["SecurityGroupRules"]) == len(before)
    engine.preview_text("--refresh", "--expect-no-changes")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_cancelled_ends_its_command_in_order_and_closes(
    engine: Engine, ec2: Any, closing: None, number: signal.Signals
) -> None:
    job = Job(engine)
    job.wait_for("begun")
    job.send(number)
    code, said = job.ended()
    assert code == 7
    assert "TERM" in said
    assert f"port 22 is closed to {ADDRESS}/32" in said
    assert rules(ec2) == {}


def test_what_a_killed_job_has_left_is_removed_by_the_closing_step_and_by_the_next_job(
    engine: Engine, ec2: Any, closing: None
) -> None:
    for remove in (lambda: close(engine), lambda: Job(engine).end(0)):
        job = Job(engine)
        job.wait_for("begun")
        job.send(signal.SIGKILL)
        job.ended()
        assert rules(ec2), "nobody could close it"
        remove()
        assert rules(ec2) == {}
    assert close(engine) == "", "there is nothing to close"


@pytest.fixture
def other(engine: Engine, ec2: Any, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], str]]]:
    """The stack file of a stack that has no load balancer yet, and what makes its group."""
    config = yaml.safe_load(engine.config_file.read_text())["config"]
    file = tmp_path / "Pulumi.other.yaml"
    file.write_text(yaml.safe_dump({"config": {key: value for key, value in config.items() if "aws:" in key}}))
    tags = {"Project": "antmedia", "Stack": "other", "Role": "lb", "Node": "lb"}
    made: list[str] = []

    def make() -> str:
        specification = [{"ResourceType": "security-group", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(
            GroupName="other", Description="x", VpcId=vpc, TagSpecifications=specification
        )
        made.append(group["GroupId"])
        return made[0]

    yield file, make
    for group in made:
        ec2.delete_security_group(GroupId=group)


def test_at_a_first_deployment_port_22_is_opened_once_there_is_a_group(
    engine: Engine, ec2: Any, other: tuple[Path, Callable[[], str]]
) -> None:
    file, make_group = other
    job = Job(engine, stack="other", config_file=file)
    job.wait_for("begun")
    assert rules(ec2) == {}
    group = make_group()
    job.wait_for(f"port 22 is open to {ADDRESS}")
    assert rules(ec2) == {f"{DESCRIPTION} 42": f"{ADDRESS}/32 22-22"}
    assert job.end(0) == 0
    (rule,) = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    assert rule["IsEgress"], "only what every new group has is left"


def test_without_credentials_nothing_is_run(engine: Engine, tmp_path: Path) -> None:
    config = yaml.safe_load(engine.config_file.read_text())["config"]
    file, marker = tmp_path / f"Pulumi.{STACK}.yaml", tmp_path / "ran"
    kept = {key: value for key, value in config.items() if key in ("aws:region", "aws:endpoints")}
    file.write_text(yaml.safe_dump({"config": kept}))
    words = ["-m", "tools.ci.ssh_access", "run", STACK, "--address", ADDRESS, "--config-file", str(file)]
    done = subprocess.run(
        engine.namespace.command(sys.executable, *words, "--", "touch", str(marker)),
        cwd=CHECKOUT, env=dict(engine.environment), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "credentials" in done.stderr
    assert "aws ec2 describe-security-group-rules" in done.stderr
    assert not marker.exists()
