"""A deployment by the real engine: made, left alone, meddled with behind the program's back, and taken away."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engine.pulumi_cli import Engine, EngineError, Plan, Run
from tests.engine.sandbox import AwsApi, SshCall, SshServer

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("first_up")]


def test_the_first_update_reaches_every_host_and_only_the_load_balancer_by_a_public_address(
    engine: Engine, first_calls: list[SshCall]
) -> None:
    outputs = engine.outputs()
    nodes = outputs["nodes"].values()
    private = {node["privateAddress"] for node in nodes if node["role"] != "lb"}
    assert {call.address for call in first_calls} == {outputs["loadBalancerAddress"]} | private


def test_a_second_preview_shows_no_changes(engine: Engine) -> None:
    engine.preview_text("--expect-no-changes")


def test_a_preview_with_refresh_shows_no_changes(engine: Engine) -> None:
    plan = engine.preview("--refresh")
    assert not plan.changes, str(plan)


def test_secrets_are_not_in_the_state(engine: Engine) -> None:
    assert not secrets_in(str(engine.export()), engine)
    assert secrets_in(str(engine.export("--show-secrets")), engine) == set(engine.secrets), "each one is used"


def test_secrets_are_not_in_outputs_or_logs(engine: Engine, first_up: Run) -> None:
    assert not secrets_in(first_up.log, engine)
    assert not secrets_in(str(engine.outputs()), engine)


def test_secrets_are_not_in_the_diff_of_a_change_of_everything(engine: Engine) -> None:
    """Every resource in full, old and new, as a person sees it who has changed the nodes' type."""
    media = {"origins": {"instanceType": "c5.xlarge"}, "edges": {"instanceType": "c5.xlarge"}}
    engine.configure({"antmedia:media": media, "antmedia:loadBalancer": {"instanceType": "c5.xlarge"}})
    try:
        shown = engine.preview_text("--show-sames", "--show-replacement-steps")
    finally:
        engine.configure({})
    assert "c5.xlarge" in shown
    assert not secrets_in(shown, engine)


def test_secrets_reach_a_host_by_standard_input_only(engine: Engine, first_calls: list[SshCall]) -> None:
    commands = "\n".join(call.command for call in first_calls)
    assert not secrets_in(commands, engine)
    sent = "\n".join(call.stdin for call in first_calls)
    assert not secrets_in(sent, engine) & set(engine.ssh_keys), "no host is given a private key over SSH"


def test_an_instance_stopped_and_started_keeps_its_elastic_ip(
    engine: Engine, ec2: Any, first_up: Run, ssh_log: SshServer
) -> None:
    address = engine.outputs()["loadBalancerAddress"]
    instance = instance_at(ec2, address)
    ec2.stop_instances(InstanceIds=[instance])
    stopped = engine.preview("--refresh")
    ec2.start_instances(InstanceIds=[instance])
    started = engine.preview("--refresh")
    assert not stopped.changes, f"stopped: {stopped}"
    assert not started.changes, f"started: {started}"
    assert instance_at(ec2, address) == instance
    assert not ssh_log.calls, "a preview sends nothing to a host"


def test_a_step_that_fails_on_a_host_fails_the_update_with_its_own_words(engine: Engine, ssh_log: SshServer) -> None:
    engine.configure({"antmedia:stats": {"user": "somebody-else"}})
    try:
        with ssh_log.failing(pattern="", message="the host says no"), pytest.raises(EngineError) as failed:
            engine.up()
        assert "the host says no" in str(failed.value)
        assert not secrets_in(str(failed.value), engine)
        plan = engine.preview()
        assert [step.op for step in plan.changes] == ["update"], f"what failed is to be done again: {plan}"
    finally:
        engine.configure({})
    plan = engine.preview()
    assert not plan.changes, f"with the old configuration nothing is left to do: {plan}"


def test_a_database_that_is_to_be_kept_stops_destroy_before_anything_is_gone(
    engine: Engine, aws: AwsApi, ssh_log: SshServer
) -> None:
    engine.configure({"antmedia:database": {"onDestroy": "refuse"}})
    try:
        engine.up()
        assert not ssh_log.calls, "nothing but a mark in the state has changed"
        before = aws.objects()
        with pytest.raises(EngineError, match="protect") as refused:
            engine.destroy_as_a_person_does()
        assert "aws:ebs/volume:Volume::database" in str(refused.value)
        assert aws.objects() == before
    finally:
        engine.configure({})
        engine.up()


def test_a_database_of_which_a_snapshot_is_wanted_leaves_one(engine: Engine, ec2: Any, first_up: Run) -> None:
    engine.configure({"antmedia:database": {"onDestroy": "snapshot"}})
    try:
        engine.up()
        resources = engine.export()["deployment"]["resources"]
        (volume,) = [resource for resource in resources if resource["type"] == "aws:ebs/volume:Volume"]
        engine.destroy("--target", volume["urn"], "--target-dependents")
        found = ec2.describe_snapshots(Filters=[{"Name": "volume-id", "Values": [volume["id"]]}])["Snapshots"]
        assert [snapshot["Encrypted"] for snapshot in found] == [True]
        assert {"Key": "Node", "Value": "database"} in found[0]["Tags"]
        ec2.delete_snapshot(SnapshotId=found[0]["SnapshotId"])
    finally:
        engine.configure({})
        engine.up()


@dataclasses.dataclass(frozen=True)
class Meddling:
    """What was done by hand, and what the engine said before and after mending it."""

    revoked: str
    """The Name tag of the rule that was revoked."""
    described: str
    """The Name tag of the rule whose description was changed."""
    renamed: str
    """The name of the node whose tag was changed."""
    terminated: str
    """The name of the node that was terminated."""
    plain: Plan
    refreshed: Plan
    mended: Run
    afterwards: Plan


@pytest.fixture(scope="module")
def meddling(engine: Engine, ec2: Any, first_up: Run) -> Iterator[Meddling]:
    """Everything at once: each engine run costs several seconds."""
    outputs = engine.outputs()
    nodes = outputs["nodes"]
    balancer = next(name for name, node in nodes.items() if node["role"] == "lb")
    media = next(name for name, node in nodes.items() if node["role"] == "edge")

    rules = own_rules(ec2)
    revoked = next(rule for rule in rules if "ReferencedGroupInfo" in rule and not rule["IsEgress"])
    ec2.revoke_security_group_ingress(GroupId=revoked["GroupId"], SecurityGroupRuleIds=[revoked["SecurityGroupRuleId"]])
    described = next(rule for rule in rules if "CidrIpv4" in rule)
    new = {key: described[key] for key in ("IpProtocol", "FromPort", "ToPort", "CidrIpv4")}
    change = {"SecurityGroupRuleId": described["SecurityGroupRuleId"], "SecurityGroupRule": new}
    ec2.modify_security_group_rules(
        GroupId=described["GroupId"], SecurityGroupRules=[change | {"SecurityGroupRule": new | {"Description": "?"}}]
    )
    address = outputs["loadBalancerAddress"]
    ec2.create_tags(Resources=[instance_at(ec2, address)], Tags=[{"Key": "Name", "Value": "by hand"}])
    ec2.terminate_instances(InstanceIds=[instance_at(ec2, nodes[media]["publicAddress"])])

    plain, refreshed = engine.preview(), engine.preview("--refresh")
    mended = engine.up("--refresh")
    yield Meddling(
        revoked=node_tag(revoked),
        described=node_tag(described),
        renamed=balancer,
        terminated=media,
        plain=plain,
        refreshed=refreshed,
        mended=mended,
        afterwards=engine.preview("--refresh"),
    )


def test_a_plain_preview_does_not_look_at_aws(meddling: Meddling) -> None:
    """So drift needs --refresh; a preview without it must not half-see it either."""
    assert not meddling.plain.changes, str(meddling.plain)


def test_a_rule_revoked_by_hand_is_to_be_created(meddling: Meddling) -> None:
    assert ("create", meddling.revoked) in operations(meddling.refreshed)


def test_a_description_changed_by_hand_is_to_be_put_back(meddling: Meddling) -> None:
    assert ("update", meddling.described) in operations(meddling.refreshed)
    step = next(step for step in meddling.refreshed.changes if step.name == meddling.described)
    assert step.properties == ("description",)


def test_a_tag_changed_by_hand_is_to_be_put_back(meddling: Meddling) -> None:
    assert ("update", meddling.renamed) in operations(meddling.refreshed)


def test_an_instance_terminated_by_hand_is_to_be_created(meddling: Meddling) -> None:
    assert ("create", meddling.terminated) in operations(meddling.refreshed)


def test_nothing_else_is_to_be_changed_in_aws(meddling: Meddling) -> None:
    expected = {
        ("create", meddling.revoked),
        ("update", meddling.described),
        ("update", meddling.renamed),
        ("create", meddling.terminated),
        ("update", "dashboard"),  # by the instance's new id
    }
    in_aws = {(step.op, step.name) for step in meddling.refreshed.changes if step.type.startswith("aws:")}
    assert in_aws == expected, str(meddling.refreshed)


def test_the_next_update_mends_it_all(meddling: Meddling, ec2: Any) -> None:
    assert meddling.mended.summary["create"] == 2
    assert not meddling.afterwards.changes, str(meddling.afterwards)
    rules = own_rules(ec2)
    assert {meddling.revoked, meddling.described} <= {node_tag(rule) for rule in rules}
    assert "?" not in {rule.get("Description") for rule in rules}


def test_destroy_leaves_nothing_even_when_a_host_is_gone(
    destroying: Callable[[], Run], aws: AwsApi, ec2: Any, engine: Engine, ssh_log: SshServer
) -> None:
    ec2.terminate_instances(InstanceIds=[instance_at(ec2, engine.outputs()["loadBalancerAddress"])])
    assert aws.objects(), "there is something to destroy"
    destroying()
    assert not ssh_log.calls, "nothing is drained where everything goes"
    assert aws.objects() == {}
    assert not engine.export()["deployment"].get("resources")


def operations(plan: Plan) -> set[tuple[str, str]]:
    """Operation and name of all that a preview would change."""
    return {(step.op, step.name) for step in plan.changes}


def instance_at(ec2: Any, public_address: str) -> str:
    """The instance that an address leads to; fails unless it is exactly one."""
    found = ec2.describe_instances(Filters=[{"Name": "ip-address", "Values": [public_address]}])["Reservations"]
    instances = [instance["InstanceId"] for reservation in found for instance in reservation["Instances"]]
    assert len(instances) == 1, f"{public_address} leads to {instances}"
    return str(instances[0])


def own_rules(ec2: Any) -> list[Any]:
    """The security group rules that the program made: those with tags."""
    return [rule for rule in ec2.describe_security_group_rules()["SecurityGroupRules"] if rule.get("Tags")]


def node_tag(shown: Any) -> str:
    """The Node tag, which is the Pulumi name."""
    return next(str(tag["Value"]) for tag in shown["Tags"] if tag["Key"] == "Node")


def secrets_in(text: str, engine: Engine) -> set[str]:
    """The secrets that a text holds, wholly or by a line of theirs, in the clear or in Base64."""
    return {secret for secret in engine.secrets if any(form in text for form in forms(secret))}


def forms(secret: str) -> Iterator[str]:
    for line in secret.splitlines():
        if not line.startswith("-----"):
            yield line
    for shift in range(3):  # Base64 looks different at each offset; its first and last characters depend on neighbours
        encoded = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        yield encoded[4:-4]
