"""An update that is killed, or a host that dies, and what a person types afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import keys
from tests.engine.crashes import CrashingEngine, OwnNamespace
from tests.engine.pulumi_cli import STACK
from tests.engine.sandbox import AwsApi, SshServer
from tests.engine.test_deployment import instance_at
from tools.recovery.stack import BACKUPS

pytestmark = pytest.mark.engine

KILLS = int(os.environ.get("ANTMEDIA_KILLS", "2"))
"""At how many points of an update the engine is killed; 20 for the full proof."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crash")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[OwnNamespace]:
    made = OwnNamespace()
    yield made
    made.close()


@pytest.fixture(scope="module")
def account(sandbox: OwnNamespace, directory: Path) -> Iterator[AwsApi]:
    running = AwsApi(sandbox, directory)
    yield running
    running.close()


@pytest.fixture(scope="module")
def crashing(sandbox: OwnNamespace, directory: Path, account: AwsApi) -> Iterator[CrashingEngine]:
    engine = CrashingEngine(sandbox, directory)
    login, host = engine.ssh_keys
    server = SshServer(sandbox, directory, host_key=host, authorized_key=keys.public_key(login))
    yield engine
    server.close()
    for backup in BACKUPS.glob(f"{STACK}-*.json"):
        backup.unlink()


@pytest.fixture(scope="module")
def events(crashing: CrashingEngine) -> int:
    """How many beginnings and ends of operations an update from nothing has."""
    return 2 * sum(step.op == "create" for step in crashing.preview().changes)


@pytest.fixture
def deployed(crashing: CrashingEngine) -> None:
    """The deployment is there and finished. Tests that change it put it back."""
    if not ids(crashing):
        crashing.recover()
        crashing.up()


@pytest.fixture(scope="module")
def ec2(account: AwsApi) -> Any:
    return account.client("ec2")


@pytest.mark.parametrize("point", range(KILLS))
def test_an_update_killed_anywhere_is_finished_by_recover_and_up(
    point: int, crashing: CrashingEngine, account: AwsApi, events: int
) -> None:
    """Every second time the plugins outlive the engine, as after `kill -9` of it alone.

    With --yes: a kill has once left a second Elastic IP, which no operation in the state explained and which recover
    therefore asks about.
    """
    at = 1 + int((point + 0.5) / KILLS * events * 0.95)
    crashing.crash("up", at, after=0.37 * point % 1, plugins_too=point % 2 == 0)
    crashing.recover("--yes")
    assert not crashing.export()["deployment"].get("pending_operations")
    crashing.up()
    plan = crashing.preview("--refresh")
    assert not plan.changes, str(plan)
    assert "Nothing was changed" in crashing.recover()
    crashing.destroy()
    assert account.objects() == {}


@pytest.mark.parametrize("part", [0.45, 0.85])
def test_an_update_ended_with_ctrl_c_is_finished_by_recover_and_up(
    part: float, crashing: CrashingEngine, account: AwsApi, events: int
) -> None:
    interrupted = crashing.interrupt("up", int(part * events))
    assert interrupted.returncode
    assert interrupted.stdout.strip().endswith(f"make recover STACK={STACK}"), interrupted.stdout
    crashing.recover("--yes")
    crashing.up()
    plan = crashing.preview("--refresh")
    assert not plan.changes, str(plan)
    crashing.destroy()
    assert account.objects() == {}


def test_after_a_kill_a_plain_up_changes_nothing_and_names_the_command(
    crashing: CrashingEngine, account: AwsApi, events: int
) -> None:
    crashing.crash("up", events // 2)
    before = account.objects()
    said = crashing.plain("up")
    assert said.returncode == 1
    assert said.stdout.strip().endswith(f"make recover STACK={STACK}"), said.stdout
    assert crashing.plain("destroy").stdout.strip().endswith(f"make recover STACK={STACK}")
    assert account.objects() == before
    crashing.recover()


def test_a_lock_without_anything_unfinished_is_told_and_cleared(crashing: CrashingEngine, directory: Path) -> None:
    locks = directory / f"state/.pulumi/locks/organization/antmedia/{STACK}"
    locks.mkdir(parents=True, exist_ok=True)
    holder = {"pid": 2**22 + 1, "username": "me", "hostname": os.uname().nodename, "timestamp": "2026-01-01T00:00:00Z"}
    (locks / "a.json").write_text(json.dumps(holder))
    said = crashing.plain("up")
    assert said.returncode
    assert said.stdout.strip().endswith(f"make recover STACK={STACK}"), said.stdout
    assert "would clear the lock of me@" in crashing.recover("--dry-run")
    assert list(locks.glob("*.json")), "a dry run changes nothing"
    assert "cleared the lock of me@" in crashing.recover()
    assert not list(locks.glob("*.json"))


def test_a_lock_of_another_machine_is_cleared_only_after_a_yes(crashing: CrashingEngine, directory: Path) -> None:
    locks = directory / f"state/.pulumi/locks/organization/antmedia/{STACK}"
    locks.mkdir(parents=True, exist_ok=True)
    holder = {"pid": 1, "username": "you", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}
    (locks / "b.json").write_text(json.dumps(holder))
    refused = crashing.tool("tools.recover")
    assert refused.returncode == 1
    assert "you@elsewhere, process 1, since 2026-01-01 00:00:00 UTC" in refused.stdout
    assert list(locks.glob("*.json"))
    crashing.recover("--yes")
    assert not list(locks.glob("*.json"))


def test_a_running_update_is_left_alone(crashing: CrashingEngine, account: AwsApi, events: int) -> None:
    with crashing._started("pulumi", "up", "--yes", "--skip-preview", *crashing._common) as process:
        assert process.stdout is not None
        while " creating (" not in process.stdout.readline():
            assert process.poll() is None
        refused = crashing.tool("tools.recover", "--yes")
        assert refused.returncode == 1
        assert f"process {process.pid}" in refused.stdout
        process.stdout.read()
        assert process.wait() == 0, "the update ended as if nobody had asked"


def test_a_state_whose_attributes_were_half_written_is_read_again(
    crashing: CrashingEngine, account: AwsApi, directory: Path, deployed: None
) -> None:
    """A moment of a few microseconds, at which a kill makes every command fail."""
    before = crashing.export()["deployment"]["resources"]
    attributes = directory / f"state/.pulumi/stacks/antmedia/{STACK}.json.attrs"
    attributes.write_text("")
    said = crashing.plain("up")
    assert said.returncode
    assert said.stdout.strip().endswith(f"make recover STACK={STACK}"), said.stdout
    assert "would remove" in crashing.recover("--dry-run")
    assert attributes.exists(), "a dry run changes nothing"
    assert str(attributes) in crashing.recover()
    assert crashing.export()["deployment"]["resources"] == before


def test_objects_of_nobodys_operation_are_deleted_after_a_question_and_others_are_not(
    crashing: CrashingEngine, account: AwsApi, ec2: Any, deployed: None
) -> None:
    made = account.objects()

    def vpc(stack: str, **tags: str) -> str:
        tags = {"Project": "antmedia", "Stack": stack, "Node": "vpc", "ManagedBy": "pulumi", **tags}
        return str(ec2.create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=tagged("vpc", tags))["Vpc"]["VpcId"])

    ours, others, by_hand = vpc(STACK), vpc("other"), vpc(STACK, ManagedBy="hand")
    inside = ec2.create_security_group(
        GroupName="g",
        Description="g",
        VpcId=ours,
        TagSpecifications=tagged(
            "security-group", {"Project": "antmedia", "Stack": STACK, "ManagedBy": "pulumi", "Node": "lb"}
        ),
    )["GroupId"]
    try:
        refused = crashing.tool("tools.recover")
        assert refused.returncode == 1
        assert f"VPC vpc ({ours})" in refused.stdout
        assert f"would ask whether to delete VPC vpc ({ours})" in crashing.recover("--dry-run")
        assert ours in account.objects()["ec2 vpcs"]
        said = crashing.recover("--yes")
        assert said.index(inside) < said.index(f"deleted VPC vpc ({ours})"), "what stands in it goes first"
        assert others not in said
        assert by_hand not in said
    finally:
        for each in (others, by_hand):
            ec2.delete_vpc(VpcId=each)
    assert account.objects() == made, "the deployment is as it was"
    plan = crashing.preview("--refresh")
    assert not plan.changes, str(plan)


def test_an_unfinished_operation_that_made_nothing_is_forgotten(
    crashing: CrashingEngine, directory: Path, deployed: None
) -> None:
    begin_creating(directory, "Instance::edge-1", "edge-7")
    assert "edge-7" in crashing.plain("up").stdout
    said = crashing.recover()
    assert "forgot the unfinished operation: creating aws:ec2/instance:Instance edge-7" in said
    assert "deleted" not in said
    assert not crashing.preview("--refresh").changes


def test_a_volume_of_an_unfinished_creation_is_deleted_without_a_question(
    crashing: CrashingEngine, account: AwsApi, ec2: Any, directory: Path, deployed: None
) -> None:
    """A kill while the database's volume was being made: left alone, it would be paid for until somebody noticed."""
    made = account.objects()
    inputs = begin_creating(directory, "Volume::database", "database-7")
    ec2.create_volume(
        AvailabilityZone=inputs["availabilityZone"],
        Size=inputs["size"],
        TagSpecifications=tagged("volume", inputs["tags"]),
    )
    assert "deleted volume database-7" in crashing.recover()
    assert account.objects() == made
    assert not crashing.preview("--refresh").changes


@pytest.mark.parametrize("node", ["edge-1", "lb-1"])
def test_a_host_that_died_is_replaced_and_nothing_else(
    node: str, crashing: CrashingEngine, ec2: Any, deployed: None
) -> None:
    before, outputs = ids(crashing), crashing.outputs()
    died = before[node]
    ec2.terminate_instances(InstanceIds=[died])
    refused = crashing.tool("tools.repair", "edge-9", "--yes")
    assert refused.returncode == 1
    assert "edge-9; its nodes are db-1, edge-1, lb-1, origin-1." in refused.stdout
    done = crashing.tool("tools.repair", node, "--yes")
    assert done.returncode == 0, done.stdout
    assert died in done.stdout
    after = ids(crashing)
    assert {name for name in before if before[name] != after[name]} == {node}
    assert instance_at(ec2, crashing.outputs()["nodes"][node]["publicAddress"]) == after[node]
    assert crashing.outputs()["loadBalancerAddress"] == outputs["loadBalancerAddress"]
    plan = crashing.preview("--refresh")
    assert not plan.changes, str(plan)


def test_a_destroy_that_was_killed_can_be_followed_by_up_and_by_destroy(
    crashing: CrashingEngine, account: AwsApi, deployed: None
) -> None:
    crashing.crash("destroy", 12, after=0.2)
    crashing.recover()
    crashing.up()
    plan = crashing.preview("--refresh")
    assert not plan.changes, str(plan)
    crashing.crash("destroy", 30)
    crashing.recover()
    crashing.destroy()
    assert account.objects() == {}


def tagged(resource: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """How EC2 wants to be told the tags of what it is to make; the engine's own marks among inputs are none."""
    own = [{"Key": key, "Value": value} for key, value in tags.items() if not key.startswith("__")]
    return [{"ResourceType": resource, "Tags": own}]


def begin_creating(directory: Path, like: str, name: str) -> dict[str, Any]:
    """Note in the state that something `like` what is there is being created; returns its inputs."""
    state = directory / f"state/.pulumi/stacks/antmedia/{STACK}.json"
    document = json.loads(state.read_text())
    checkpoint = document["checkpoint"]["latest"]
    model = next(each for each in checkpoint["resources"] if each["urn"].endswith(like))
    begun = {key: value for key, value in model.items() if key not in ("id", "outputs")}
    begun["urn"] = f"{model['urn'].rpartition('::')[0]}::{name}"
    begun["inputs"] = {**model["inputs"], "tags": {**model["inputs"]["tags"], "Node": name}}
    checkpoint["pending_operations"] = [{"resource": begun, "type": "creating"}]
    state.write_text(json.dumps(document))
    inputs: dict[str, Any] = begun["inputs"]
    return inputs


def ids(engine: CrashingEngine) -> dict[str, str]:
    """The instance of each node."""
    return {
        resource["urn"].rpartition("::")[2]: resource["id"]
        for resource in engine.export()["deployment"].get("resources", [])
        if resource["type"] == "aws:ec2/instance:Instance"
    }
