"""The rules of the policy pack as pure functions: one thing wrong is one finding, and what is right is none."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster import keys
from cluster.firewall import ROWS, Direction, Peer
from cluster.plan import tags
from policy import account, firewall, hosts
from policy.rule import UNKNOWN, Finding, Resource
from policy.rules import RULES

pytestmark = pytest.mark.unit

CHECKOUT = Path(__file__).resolve().parents[3]

TYPES = {
    "SecurityGroupIngressRule": "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "Command": "command:remote:Command",
}


def resource(kind: str, name: str = "it", comes_from: dict[str, str] | None = None, **properties: Any) -> Resource:
    """`comes_from`: by property, the name of the resource that its value is of."""
    made_from = {key: [f"urn:{other}"] for key, other in (comes_from or {}).items()}
    return Resource(TYPES.get(kind, f"aws:ec2/x:{kind}"), name, properties, f"urn:{name}", made_from)


def ingress(group: str, first: Any, last: Any, cidr: str, protocol: str = "tcp") -> list[Resource]:
    rule = {"ipProtocol": protocol, "fromPort": first, "toPort": last, "cidrIpv4": cidr, "securityGroupId": UNKNOWN}
    return [
        resource("SecurityGroup", group),
        resource("SecurityGroupIngressRule", "rule", {"securityGroupId": group}, **rule),
    ]


def said(check: Callable[[Sequence[Resource]], Any], resources: Sequence[Resource]) -> list[str]:
    found: list[Finding] = list(check(resources))
    return [what for _, what in found]


@pytest.mark.parametrize("row", [row for row in ROWS if row.direction is Direction.INGRESS], ids=lambda row: row.key)
def test_the_world_may_reach_what_the_table_opens_to_it_and_nothing_else(row: Any) -> None:
    ports = row.ports
    opened = ingress(row.group.value, ports.first, ports.last, "0.0.0.0/0", ports.protocol)
    found = said(firewall.world_open_ports, opened) + said(firewall.administration_is_closed, opened)
    assert len(found) == (0 if row.peer is Peer.ANYWHERE else 1)


@pytest.mark.parametrize(
    ("group", "first", "last", "cidr"),
    [
        ("lb", 1935, 1940, "0.0.0.0/0"),
        ("db", 443, 443, "0.0.0.0/0"),
        ("lb", 8080, 8080, "::/0"),
        ("lb", 8080, 8080, "128.0.0.0/1"),
        ("lb", 23, 23, "0.0.0.0/4"),
    ],
)
def test_a_port_beside_the_table_is_found_however_the_world_is_written(
    group: str, first: int, last: int, cidr: str
) -> None:
    assert len(said(firewall.world_open_ports, ingress(group, first, last, cidr))) == 1


@pytest.mark.parametrize(("first", "last", "protocol"), [(22, 22, "tcp"), (0, 65535, "tcp"), (6080, 6080, "6")])
def test_ports_of_administrators_are_never_the_worlds(first: int, last: int, protocol: str) -> None:
    opened = ingress("lb", first, last, "0.0.0.0/0", protocol)
    assert len(said(firewall.administration_is_closed, opened)) == 1
    assert said(firewall.world_open_ports, opened) == [], "it is told once"
    assert said(firewall.administration_is_closed, ingress("lb", first, last, "203.0.113.7/32", protocol)) == []


def test_every_protocol_and_ports_that_are_not_known_count_as_every_port() -> None:
    for first, last, protocol in ((None, None, "-1"), (UNKNOWN, UNKNOWN, "tcp")):
        found = said(firewall.administration_is_closed, ingress("lb", first, last, "0.0.0.0/0", protocol))
        assert found == ["every port of the group lb is open to 0.0.0.0/0"]


def test_rules_written_into_a_group_and_rules_of_the_old_kind_are_looked_at_too() -> None:
    inside = {"protocol": "tcp", "fromPort": 8080, "toPort": 8080, "cidrBlocks": ["10.0.0.0/8", "0.0.0.0/0"]}
    assert len(said(firewall.world_open_ports, [resource("SecurityGroup", "lb", ingress=[inside])])) == 1
    for way, count in (("ingress", 1), ("egress", 0)):
        old = resource("SecurityGroupRule", "rule", {"securityGroupId": "lb"}, type=way, **inside)
        assert len(said(firewall.world_open_ports, [resource("SecurityGroup", "lb"), old])) == count


def test_the_database_takes_nobody_by_address_and_has_no_elastic_ip() -> None:
    assert len(said(firewall.database_is_closed, ingress("db", 27017, 27017, "10.0.0.0/8"))) == 1
    assert said(firewall.database_is_closed, ingress("lb", 27017, 27017, "10.0.0.0/8")) == []
    for role, count in (("db", 1), ("lb", 0)):
        host = resource("Instance", f"{role}-1", tags={"Role": role})
        address = resource("EipAssociation", "e", {"instanceId": f"{role}-1"}, instanceId=UNKNOWN)
        assert len(said(firewall.database_is_closed, [host, address])) == count


def test_the_default_group_of_every_vpc_is_kept_empty() -> None:
    vpc, other = resource("Vpc", "vpc"), resource("Vpc", "other")
    closed = resource("DefaultSecurityGroup", "closed", {"vpcId": "vpc"})
    assert said(firewall.default_group_is_closed, [vpc, closed]) == []
    assert said(firewall.default_group_is_closed, [vpc, other, closed]) == [
        "the default security group of other is not closed"
    ]
    held = resource("DefaultSecurityGroup", "held", {"vpcId": "vpc"}, egress=[{"protocol": "-1"}])
    assert said(firewall.default_group_is_closed, [vpc, held]) == ["held has rules"]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"httpTokens": "required", "httpPutResponseHopLimit": 1}, 0),
        ({"httpTokens": "required", "httpPutResponseHopLimit": 2}, 1),
        ({"httpTokens": "optional", "httpPutResponseHopLimit": 1}, 1),
        ({"httpTokens": "required"}, 1),
        (None, 1),
    ],
)
def test_the_metadata_service_is_guarded(options: Any, count: int) -> None:
    assert len(said(hosts.metadata_is_guarded, [resource("Instance", metadataOptions=options)])) == count


def test_every_volume_is_encrypted() -> None:
    good = resource("Instance", rootBlockDevice={"encrypted": True})
    assert said(hosts.volumes_are_encrypted, [good, resource("Volume", encrypted=True)]) == []
    bad = [
        resource("Instance", rootBlockDevice={"encrypted": False}),
        resource("Instance"),
        resource("Instance", rootBlockDevice={"encrypted": True}, ebsBlockDevices=[{"deviceName": "/dev/sdf"}]),
        resource("Volume"),
    ]
    assert len(said(hosts.volumes_are_encrypted, bad)) == len(bad)


def user_data(**more: Any) -> str:
    key = keys.new_private_key()
    config = {"disable_root": True, "ssh_keys": {"ed25519_private": key, "ed25519_public": keys.public_key(key)}}
    return "#cloud-config\n" + json.dumps({**config, **more})


@pytest.mark.parametrize(
    "text",
    [
        user_data(write_files=[{"path": "/k", "content": keys.new_private_key()}]),
        user_data(password="correct-horse"),
        user_data(runcmd=["export AMS_LICENSE_KEY=abcdef123456"]),
        user_data(runcmd=["change_server_mode.sh cluster mongodb://u:p@db/"]),
        user_data(ssh_keys={"rsa_private": keys.new_private_key()}),
        user_data(chpasswd={"list": "root:x"}),
        "#!/bin/sh\nAWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\n",
    ],
)
def test_a_secret_in_user_data_is_found_and_not_shown(text: str) -> None:
    encoded = base64.b64encode(text.encode()).decode()
    for name, given in (("userData", text), ("userDataBase64", encoded)):
        found = said(hosts.user_data_holds_no_secret, [resource("Instance", "edge-1", None, **{name: given})])
        assert found
        assert all(what.startswith("the user data of edge-1 holds ") and len(what) < 70 for what in found)


def test_the_host_key_is_the_one_secret_that_user_data_may_hold() -> None:
    for text in (user_data(), UNKNOWN, None):
        assert said(hosts.user_data_holds_no_secret, [resource("Instance", userData=text)]) == []


@pytest.mark.parametrize(
    ("properties", "count"),
    [
        ({"ami": "ami-0ccc0000000001302"}, 0),
        ({"ami": UNKNOWN}, 0),
        ({"ami": "resolve:ssm:/aws/service/debian/release/13/latest/amd64"}, 1),
        ({}, 1),
        ({"launchTemplate": {"id": "lt-1", "version": "3"}}, 0),
        ({"launchTemplate": {"id": "lt-1"}}, 1),
        ({"launchTemplate": {"id": "lt-1", "version": "$Latest"}}, 1),
    ],
)
def test_an_image_is_named_by_its_id(properties: Any, count: int) -> None:
    assert len(said(hosts.images_are_pinned, [resource("Instance", **properties)])) == count


def test_what_can_have_tags_has_all_of_the_projects() -> None:
    whole = tags("antmedia", "test", "network", "vpc")
    assert (
        said(account.everything_is_tagged, [resource("Vpc", tags=whole), resource("Route"), resource("Command")]) == []
    )
    assert said(account.everything_is_tagged, [resource("Vpc", tags={**whole, "Mine": "too"})]) == []
    del whole["Stack"]
    assert said(account.everything_is_tagged, [resource("Vpc", tags=whole)]) == ["Vpc it lacks the tags Stack"]
    assert len(said(account.everything_is_tagged, [resource("Vpc")])) == 1


def test_a_network_is_logged_and_its_log_forgets() -> None:
    vpc, group = resource("Vpc", "vpc"), resource("LogGroup", "group", retentionInDays=30)
    log = resource("FlowLog", "log", {"vpcId": "vpc", "logDestination": "group"}, trafficType="ALL")
    assert said(account.networks_are_logged, [vpc, group, log]) == []
    assert said(account.networks_are_logged, [vpc, group]) == ["the network vpc has no flow log of all traffic"]
    for_ever = resource("LogGroup", "group", retentionInDays=0)
    assert said(account.networks_are_logged, [vpc, for_ever, log]) == ["the log group group keeps flow logs for ever"]
    some = resource("FlowLog", "log", {"vpcId": "vpc"}, trafficType="REJECT")
    assert len(said(account.networks_are_logged, [vpc, group, some])) == 1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_manual_has_every_rule_as_it_is(rule: Any) -> None:
    level = "mandatory" if rule.mandatory else "advisory"
    row = f"| `{rule.name}` | {rule.wants} | {rule.reason} | {level} |"
    assert row in (CHECKOUT / "docs" / "policy.md").read_text()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_says_what_why_and_what_to_do_and_finds_nothing_in_nothing(rule: Any) -> None:
    assert all(text.endswith(".") for text in (rule.wants, rule.reason, rule.remedy))
    assert list(rule.check([])) == []
