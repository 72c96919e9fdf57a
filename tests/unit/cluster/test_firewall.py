"""The firewall table: what is open to whom, written out a second time, so that opening more is a decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.firewall import ROWS, Direction, Group, Peer, groups, rules
from cluster.plan import ClusterPlan, plan
from cluster.settings import load
from tests.unit.cluster.conftest import NOW, VALID


def open_to(group: Group, peer: Peer | Group) -> set[tuple[str, int, int]]:
    return {
        (row.ports.protocol, row.ports.first, row.ports.last)
        for row in ROWS
        if row.group is group and row.direction is Direction.INGRESS and row.peer is peer
    }


def test_viewers_reach_only_the_public_ports() -> None:
    assert open_to(Group.LOAD_BALANCER, Peer.ANYWHERE) == {("tcp", p, p) for p in (80, 443, 1935, 1936, 5080, 5443)}
    assert open_to(Group.MEDIA, Peer.ANYWHERE) == {("udp", 50000, 60000)}


def test_ssh_and_statistics_are_for_administrators_only() -> None:
    assert open_to(Group.LOAD_BALANCER, Peer.ADMIN) == {("tcp", 22, 22), ("tcp", 6080, 6080)}


def test_media_nodes_take_traffic_from_the_load_balancer_only() -> None:
    assert open_to(Group.MEDIA, Group.LOAD_BALANCER) == {("tcp", p, p) for p in (22, 1935, 5080)}
    assert not open_to(Group.MEDIA, Peer.ADMIN)


def test_what_the_load_balancer_may_send_media_nodes_may_receive() -> None:
    sent = {(r.ports, r.peer) for r in ROWS if r.group is Group.LOAD_BALANCER and r.direction is Direction.EGRESS}
    assert {ports for ports, peer in sent if peer is Group.MEDIA} == {
        r.ports for r in ROWS if r.group is Group.MEDIA and r.peer is Group.LOAD_BALANCER
    }


def test_the_database_takes_media_nodes_and_the_load_balancers_ssh_and_nobody_else() -> None:
    assert open_to(Group.DATABASE, Group.MEDIA) == {("tcp", 27017, 27017)}
    assert open_to(Group.DATABASE, Group.LOAD_BALANCER) == {("tcp", 22, 22)}
    for peer in (*Peer, Group.DATABASE):
        assert not open_to(Group.DATABASE, peer)


def test_what_is_sent_to_the_database_it_may_receive() -> None:
    sent = {(r.group, r.ports) for r in ROWS if r.direction is Direction.EGRESS and r.peer is Group.DATABASE}
    received = {(r.peer, r.ports) for r in ROWS if r.direction is Direction.INGRESS and r.group is Group.DATABASE}
    assert sent == received


def test_every_row_has_a_key_of_its_own_and_a_reason() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    # EC2 takes at most 255 of these characters as a rule's description.
    assert all(row.why and len(row.why) < 256 and row.why.replace(",", "").replace(" ", "").isalnum() for row in ROWS)


def test_each_source_becomes_a_rule_of_its_own(make_plan: Callable[..., ClusterPlan]) -> None:
    one = {rule.key for rule in rules(make_plan(adminCidrs=["203.0.113.7/32"]))}
    two = {rule.key for rule in rules(make_plan(adminCidrs=["198.51.100.0/24", "203.0.113.7/32"]))}
    assert two - one == {"lb-ssh-198.51.100.0-24", "lb-stats-198.51.100.0-24"}
    assert one < two


NETWORKS = st.integers(8, 32).flatmap(
    lambda p: st.integers(0, 2**p - 1).map(lambda n: f"{n << (32 - p) >> 24}.{n << (32 - p) >> 16 & 255}."
                                           f"{n << (32 - p) >> 8 & 255}.{n << (32 - p) & 255}/{p}")
)  # fmt: skip


@given(admins=st.lists(NETWORKS, min_size=1, max_size=20))
def test_every_rule_has_one_other_end_and_nobody_but_the_named_gets_in(admins: list[str]) -> None:
    found = list(rules(plan(load({**VALID, "adminCidrs": admins}, now=NOW), project="p", stack="s")))
    assert len({rule.key for rule in found}) == len(found)
    assert all((rule.cidr is None) != (rule.peer_group is None) for rule in found)
    assert {rule.cidr for rule in found if rule.row.peer is Peer.ADMIN} == set(admins)


def test_without_tls_no_port_for_it_is_open(make_plan: Callable[..., ClusterPlan]) -> None:
    with_tls = {rule.key for rule in rules(make_plan())}
    assert with_tls - {rule.key for rule in rules(make_plan(tls={"mode": "none"}))} == {
        "lb-https",
        "lb-ams-https",
        "lb-rtmps",
    }


def external(uri: str) -> dict[str, Any]:
    return {"database": {"mode": "external"}, "databaseLogin": {"uri": uri}}


@pytest.mark.parametrize(
    ("uri", "ports"),
    [
        ("mongodb://a:b@one.example.com,two.example.com:27018,three.example.com:27017/x?y=z", [27017, 27018]),
        ("mongodb+srv://a:b@cluster0.example.com/", [27017]),
    ],
)
def test_to_a_database_of_somebody_else_the_ports_of_its_uri_are_open(
    make_plan: Callable[..., ClusterPlan], uri: str, ports: list[int]
) -> None:
    plan = make_plan(**external(uri))
    assert Group.DATABASE not in groups(plan)
    found = {rule.key: rule for rule in rules(plan)}
    assert not [key for key, rule in found.items() if Group.DATABASE in (rule.row.group, rule.peer_group)]
    opened = [found[f"media-to-external-db-{port}"] for port in ports]
    assert [(rule.row.ports.first, rule.cidr) for rule in opened] == [(port, "0.0.0.0/0") for port in ports]
    assert len([key for key in found if "external" in key]) == len(ports)


def test_without_a_database_no_port_for_it_is_open(make_plan: Callable[..., ClusterPlan]) -> None:
    community = make_plan(media={"ami": "ami-0123456789abcdef0", "edition": "community"})
    assert Group.DATABASE not in groups(community)
    assert not [rule.key for rule in rules(community) if "db" in rule.key]
    assert Group.DATABASE in groups(make_plan())
