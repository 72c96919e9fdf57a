"""`make review` before the real engine: what it says of a change, and that it shows no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.pulumi_cli import STACK, Engine
from tests.engine.sandbox import CHECKOUT
from tests.engine.test_deployment import secrets_in

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("first_up")]


@pytest.fixture
def put_back(engine: Engine) -> Iterator[None]:
    yield
    engine.configure({})


def reviewed(engine: Engine, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a person types it, with this tier's state and stack file."""
    words = [STACK, "--base", "HEAD", "--config-file", str(engine.config_file), *options]
    return subprocess.run(
        engine.namespace.command(sys.executable, "-m", "tools.review", *words),
        cwd=CHECKOUT,
        env={**engine.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stack_without_changes_has_nothing_to_review(engine: Engine) -> None:
    done = reviewed(engine)
    assert done.returncode == 0, done.stderr
    assert "## What changes\n\nNothing.\n" in done.stdout
    assert "## Policies\n\nNo findings.\n" in done.stdout
    assert f"HEAD has no stack file stacks/Pulumi.{STACK}.yaml" in done.stdout


def test_a_change_of_everything_is_told_by_name_with_whom_it_interrupts_and_no_secret(
    engine: Engine, put_back: None
) -> None:
    media = {"origins": {"instanceType": "c5.xlarge"}, "edges": {"instanceType": "c5.xlarge", "count": 2}}
    changed: Mapping[str, Any] = {
        "antmedia:media": {**media, "drainMinutes": 7},
        "antmedia:loadBalancer": {"instanceType": "c5.xlarge"},
        "antmedia:stats": {"user": "somebody-else"},
        "antmedia:adminCidrs": ["198.51.100.0/24"],
    }
    engine.configure(changed)
    done = reviewed(engine, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["preview"]["summary"].keys() == {"create", "update", "replace", "delete"}
    changes = {(each["operation"], each["name"]): each for each in found["preview"]["changes"]}
    assert changes["replace", "edge-1"]["properties"] == ["instanceType"]
    assert changes["update", "lb-1"]["properties"] == ["instanceType"]
    assert changes["update", "lb-1-stats-login"]["properties"] == ["stdin"]
    notices = {each["row"]["change"]: each for each in found["interruptions"]}
    assert notices["the load balancer's `instanceType`"]["what"] == ["lb-1"]
    assert notices["another `media.ami` or `instanceType`"]["turns"] == [["origin-1", "edge-1"]]
    assert notices["another `media.ami` or `instanceType`"]["minutes"] == 7
    assert notices["more nodes"]["what"] == ["edge-2"]
    assert all(name.startswith("lb-") for name in notices["`adminCidrs`, or a port that is closed"]["what"])
    assert not secrets_in(done.stdout + done.stderr, engine)
    text = reviewed(engine)
    assert "**origin-1, edge-1**: node after node is drained" in text.stdout
    assert not secrets_in(text.stdout + text.stderr, engine)


def test_a_preview_that_fails_is_shown_with_its_message_and_the_rest(engine: Engine, put_back: None) -> None:
    engine.configure({"antmedia:loadBalancer": {"ami": "debian-13-amd64-20990101-1"}})
    done = reviewed(engine)
    assert done.returncode == 1
    assert "## The preview failed" in done.stdout
    assert "returned no results" in done.stdout
    assert "## What changes in host files" in done.stdout
    assert "ARGS=--without-preview" in done.stderr


def test_a_preview_without_a_passphrase_is_told_and_shows_no_secret(engine: Engine) -> None:
    done = reviewed(engine, PULUMI_CONFIG_PASSPHRASE_FILE="/dev/null")
    assert done.returncode == 1
    assert "passphrase" in done.stdout
    assert not secrets_in(done.stdout + done.stderr, engine)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A pack with an advisory policy, and a mandatory one."""
    runtime = {"name": "python", "options": {"virtualenv": str(CHECKOUT / ".venv")}}
    (tmp_path / "PulumiPolicy.yaml").write_text(yaml.safe_dump({"runtime": runtime}))
    (tmp_path / "__main__.py").write_text(PACK)
    return tmp_path


PACK = """
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy

def addresses(args, report):
    if args.resource_type == "aws:ec2/eip:Eip":
        report("an address costs money")

PolicyPack("test", [
    ResourceValidationPolicy("costs", "what costs", addresses, EnforcementLevel.ADVISORY),
    ResourceValidationPolicy("no-addresses", "no addresses", addresses, EnforcementLevel.MANDATORY),
])
"""


def test_findings_of_policies_are_shown_and_mandatory_ones_fail(engine: Engine, policies: Path) -> None:
    done = reviewed(engine, "--policy-pack", str(policies))
    assert done.returncode == 1
    assert "- **mandatory** no-addresses: public-address: no addresses an address costs money" in done.stdout
    assert "- **advisory** costs: public-address: what costs an address costs money" in done.stdout
    assert "1 finding of a mandatory policy" in done.stderr


def test_what_the_projects_own_policies_find_is_told(engine: Engine, put_back: None) -> None:
    engine.configure({"antmedia:network": {"flowLogDays": False}})
    done = reviewed(engine)
    assert done.returncode == 0, "a remark fails nothing"
    assert "- **advisory** networks-are-logged: vpc: Every VPC has a flow log" in done.stdout
    assert "Set network.flowLogDays" in done.stdout


def test_a_mistake_in_the_stack_file_is_told(engine: Engine, put_back: None) -> None:
    engine.configure({"antmedia:domian": "x"})
    done = reviewed(engine)
    assert done.returncode == 1
    assert "did you mean domain?" in done.stdout
    engine.configure({})
    assert reviewed(engine, "--without-preview").returncode == 0
