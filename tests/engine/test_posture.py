"""What each rule of policy/ wants, asked of the API after an update: what was made is what was reviewed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.firewall import ROWS, SSH, STATS, Direction, Group, Peer
from cluster.plan import tags
from policy.rules import RULES
from tests.engine.pulumi_cli import STACK, Engine
from tests.engine.sandbox import AwsApi
from tests.engine.test_deployment import secrets_in

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("first_up")]

WORLD = ("0.0.0.0/0", "::/0")
Answers = Iterator[tuple[str, bool]]
"""What was looked at, and whether it is as it has to be."""


def own() -> list[dict[str, Any]]:
    """Filters for what is the stack's."""
    return [{"Name": "tag:Project", "Values": ["antmedia"]}, {"Name": "tag:Stack", "Values": [STACK]}]


def hosts(aws: AwsApi) -> list[Any]:
    found = aws.client("ec2").describe_instances(
        Filters=[*own(), {"Name": "instance-state-name", "Values": ["running"]}]
    )["Reservations"]
    return [host for reservation in found for host in reservation["Instances"]]


def ingress(aws: AwsApi) -> Iterator[tuple[str, Any]]:
    """Security group's name in the program, and rule."""
    ec2 = aws.client("ec2")
    groups = {
        group["GroupId"]: tag(group, "Node") for group in ec2.describe_security_groups(Filters=own())["SecurityGroups"]
    }
    for rule in ec2.describe_security_group_rules()["SecurityGroupRules"]:
        if rule["GroupId"] in groups and not rule["IsEgress"]:
            yield groups[rule["GroupId"]], rule


def tag(shown: Any, key: str) -> str:
    return next((str(tag["Value"]) for tag in shown.get("Tags", ()) if tag["Key"] == key), "")


def cidr(rule: Any) -> str | None:
    found: str | None = rule.get("CidrIpv4") or rule.get("CidrIpv6")
    return found


def world_open_ports(aws: AwsApi, engine: Engine) -> Answers:
    wanted = {
        (row.group.value, row.ports.protocol, row.ports.first, row.ports.last)
        for row in ROWS
        if row.direction is Direction.INGRESS and row.peer is Peer.ANYWHERE
    }
    for group, rule in ingress(aws):
        if cidr(rule) in WORLD:
            ports = (group, rule["IpProtocol"], rule["FromPort"], rule["ToPort"])
            yield str(ports), ports in wanted


def administration_is_closed(aws: AwsApi, engine: Engine) -> Answers:
    for group, rule in ingress(aws):
        if any(rule["IpProtocol"] == "-1" or rule["FromPort"] <= port <= rule["ToPort"] for port in (SSH, STATS)):
            yield f"{group} {rule}", cidr(rule) not in WORLD


def database_is_closed(aws: AwsApi, engine: Engine) -> Answers:
    for group, rule in ingress(aws):
        if group == Group.DATABASE.value:
            yield str(rule), cidr(rule) is None
    databases = {host["InstanceId"] for host in hosts(aws) if tag(host, "Role") == Group.DATABASE.value}
    assert databases
    for address in aws.client("ec2").describe_addresses()["Addresses"]:
        yield str(address), address.get("InstanceId") not in databases


def default_group_is_closed(aws: AwsApi, engine: Engine) -> Answers:
    ec2 = aws.client("ec2")
    for vpc in ec2.describe_vpcs(Filters=own())["Vpcs"]:
        inside = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
        for group in ec2.describe_security_groups(Filters=inside)["SecurityGroups"]:
            yield group["GroupId"], not group["IpPermissions"] and not group["IpPermissionsEgress"]


def metadata_is_guarded(aws: AwsApi, engine: Engine) -> Answers:
    for host in hosts(aws):
        options = host["MetadataOptions"]
        yield tag(host, "Node"), (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)


def volumes_are_encrypted(aws: AwsApi, engine: Engine) -> Answers:
    volumes = {volume["VolumeId"]: volume for volume in aws.client("ec2").describe_volumes()["Volumes"]}
    attached = [mapping["Ebs"]["VolumeId"] for host in hosts(aws) for mapping in host["BlockDeviceMappings"]]
    assert len(attached) > len(hosts(aws)), "root volumes and data"
    for volume in attached:
        yield volume, volumes[volume]["Encrypted"]


def user_data_holds_no_secret(aws: AwsApi, engine: Engine) -> Answers:
    for host in hosts(aws):
        held = aws.client("ec2").describe_instance_attribute(InstanceId=host["InstanceId"], Attribute="userData")
        config = json.loads(base64.b64decode(held["UserData"]["Value"]).decode().partition("\n")[2])
        assert config["ssh_keys"].pop("ed25519_private").strip() == engine.ssh_keys[1].strip()
        yield tag(host, "Node"), not secrets_in(json.dumps(config), engine)


def images_are_pinned(aws: AwsApi, engine: Engine) -> Answers:
    asked = {
        resource["urn"].rpartition("::")[2]: resource["inputs"]["ami"]
        for resource in engine.export()["deployment"]["resources"]
        if resource["type"] == "aws:ec2/instance:Instance"
    }
    for host in hosts(aws):
        yield tag(host, "Node"), host["ImageId"] == asked[tag(host, "Node")]


def everything_is_tagged(aws: AwsApi, engine: Engine) -> Answers:
    ec2, wanted = aws.client("ec2"), set(tags("", "", "", ""))
    for operation, place in (
        ("describe_vpcs", "Vpcs"),
        ("describe_subnets", "Subnets"),
        ("describe_internet_gateways", "InternetGateways"),
        ("describe_security_groups", "SecurityGroups"),
        ("describe_addresses", "Addresses"),
        ("describe_flow_logs", "FlowLogs"),
    ):
        filters = {"Filter" if operation == "describe_flow_logs" else "Filters": own()}
        found = getattr(ec2, operation)(**filters)[place]
        assert found, place
        for each in found:
            yield f"{place} {each}", wanted <= {tag["Key"] for tag in each["Tags"]}
    for host in hosts(aws):
        yield host["InstanceId"], wanted <= {tag["Key"] for tag in host["Tags"]}
    for group in aws.client("logs").describe_log_groups()["logGroups"]:
        held = aws.client("logs").list_tags_log_group(logGroupName=group["logGroupName"])["tags"]
        yield group["logGroupName"], wanted <= set(held)


def networks_are_logged(aws: AwsApi, engine: Engine) -> Answers:
    ec2, logs = aws.client("ec2"), aws.client("logs")
    for vpc in ec2.describe_vpcs(Filters=own())["Vpcs"]:
        found = ec2.describe_flow_logs(Filter=[{"Name": "resource-id", "Values": [vpc["VpcId"]]}])["FlowLogs"]
        yield vpc["VpcId"], [(log["TrafficType"], log["DeliverLogsStatus"]) for log in found] == [("ALL", "SUCCESS")]
        for log in found:
            groups = logs.describe_log_groups(logGroupNamePrefix=log["LogGroupName"])["logGroups"]
            yield log["LogGroupName"], [group["retentionInDays"] for group in groups] == [365]


CHECKS: dict[str, Callable[[AwsApi, Engine], Answers]] = {
    check.__name__.replace("_", "-"): check
    for check in (
        world_open_ports,
        administration_is_closed,
        database_is_closed,
        default_group_is_closed,
        metadata_is_guarded,
        volumes_are_encrypted,
        user_data_holds_no_secret,
        images_are_pinned,
        everything_is_tagged,
        networks_are_logged,
    )
}


def test_every_rule_is_asked_of_the_api_too() -> None:
    assert set(CHECKS) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", CHECKS)
def test_what_was_made_is_what_the_rule_wants(rule: str, aws: AwsApi, engine: Engine) -> None:
    answers = list(CHECKS[rule](aws, engine))
    assert answers, "nothing was looked at"
    assert [what for what, is_right in answers if not is_right] == []
