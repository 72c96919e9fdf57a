"""The ruleset lets through exactly what the security groups say.

A small reading of the generated chains, line by line as the kernel does it, is held against EC2's rule, stated
separately: a packet passes if one rule of one group allows it. That the kernel accepts and obeys the text is shown
on real hosts in tests/lab.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from lab import packet_filter
from lab.ec2.model import Rule, SecurityGroup, Subnet, Vpc
from lab.packet_filter import Member
from tests.unit.lab import accounts
from tests.unit.lab.accounts import VPC, group, instance, rule

ADDRESSES = [*(f"10.0.0.{number}" for number in range(1, 6)), "192.0.2.10", "198.51.100.7"]


@dataclass(frozen=True)
class Packet:
    protocol: str
    other: str
    """The address at the other end: source of an arriving packet, destination of a leaving one."""
    port: int
    """Destination port; of ICMP the type, with code 0."""


def _packets() -> st.SearchStrategy[Packet]:
    ports = st.one_of(accounts.PORTS, st.sampled_from([22, 79, 80, 81, 443]))
    other = st.sampled_from(ADDRESSES)
    return st.one_of(
        st.builds(Packet, st.sampled_from(["tcp", "udp"]), other, ports),
        st.builds(Packet, st.just("icmp"), other, st.sampled_from([0, 3, 8])),
        st.builds(Packet, st.just("50"), other, st.just(0)),
    )


def _allowed(packet: Packet, rules: tuple[Rule, ...], members: list[Member]) -> bool:
    """EC2's own rule."""

    def other_end(one: Rule) -> bool:
        if one.cidr:
            return ipaddress.ip_address(packet.other) in ipaddress.ip_network(one.cidr)
        return any(packet.other == m.private and one.group_id in m.groups for m in members)

    def traffic(one: Rule) -> bool:
        protocol = {"6": "tcp"}.get(one.protocol, one.protocol)
        if protocol == "-1":
            return True
        if protocol != packet.protocol:
            return False
        if protocol == "50":
            return True
        assert one.from_port is not None and one.to_port is not None
        if protocol == "icmp":
            return one.from_port == -1 or (one.from_port == packet.port and one.to_port in (-1, 0))
        return one.from_port <= packet.port <= one.to_port

    return any(other_end(one) and traffic(one) for one in rules)


def _verdict(ruleset: str, chain: str, packet: Packet, dnat: bool = False) -> str:
    """What the chain says to the packet: the first line that matches decides."""
    body = ruleset.split(f"  chain {chain} {{\n", 1)[1].split("\n  }", 1)[0]
    for line in body.splitlines():
        *matches, verdict = line.strip().rsplit(" ", 1)
        if all(_matches(match, packet, dnat) for match in _split(matches[0] if matches else "")):
            return verdict
    raise AssertionError(f"{chain} does not end")


def _split(matches: str) -> list[str]:
    found = re.findall(
        r"ct status & dnat == 0|ip [sd]addr (?:!= )?(?:\{[^}]*\}|\S+)|ip protocol \S+|(?:tcp|udp) dport \S+"
        r"|icmp type \S+|icmp code \S+",
        matches,
    )
    assert " ".join(found) == matches, f"not understood: {matches!r}"
    return found


def _matches(match: str, packet: Packet, dnat: bool) -> bool:
    if match == "ct status & dnat == 0":
        return not dnat
    words = match.replace("{ ", "").replace(" }", "").replace(", ", ",").split()
    value = words[-1]
    if words[0] == "ip" and words[1] in ("saddr", "daddr"):
        networks = [ipaddress.ip_network(each) for each in value.split(",")]
        inside = any(ipaddress.ip_address(packet.other) in network for network in networks)
        return inside != ("!=" in words)
    if words[:2] == ["ip", "protocol"]:
        return packet.protocol == value
    if words[:2] == ["icmp", "type"]:
        return packet.protocol == "icmp" and packet.port == int(value)
    if words[:2] == ["icmp", "code"]:
        return int(value) == 0
    first, _, last = value.partition("-")
    return packet.protocol == words[0] and int(first) <= packet.port <= int(last or first)


@given(accounts.drawn(), _packets())
def test_a_packet_arrives_exactly_if_a_rule_lets_it_in(
    account: tuple[list[Member], list[SecurityGroup]], packet: Packet
) -> None:
    members, groups = account
    ruleset = packet_filter.ruleset(members, groups)
    from_inside = any(packet.other == member.private for member in members)
    for member in members:
        rules = tuple(one for each in groups if each.id in member.groups for one in each.ingress)
        expected = "accept" if _allowed(packet, rules, members) else "drop"
        chain = f"to_{member.instance_id[-12:]}"
        # From inside the VPC a packet comes straight, from the internet for the public address.
        assert _verdict(ruleset, chain, packet, dnat=not from_inside) == expected


@given(accounts.drawn(), _packets())
def test_a_packet_leaves_exactly_if_a_rule_lets_it_out(
    account: tuple[list[Member], list[SecurityGroup]], packet: Packet
) -> None:
    members, groups = account
    ruleset = packet_filter.ruleset(members, groups)
    for member in members:
        rules = tuple(one for each in groups if each.id in member.groups for one in each.egress)
        way = member.public is not None or packet.other.startswith("10.0.")
        expected = "accept" if way and _allowed(packet, rules, members) else "drop"
        assert _verdict(ruleset, f"from_{member.instance_id[-12:]}", packet) == expected


@given(accounts.drawn(), _packets())
def test_nothing_from_the_internet_arrives_at_a_private_address(
    account: tuple[list[Member], list[SecurityGroup]], packet: Packet
) -> None:
    members, groups = account
    ruleset = packet_filter.ruleset(members, groups)
    if not any(packet.other == member.private for member in members):
        for member in members:
            assert _verdict(ruleset, f"to_{member.instance_id[-12:]}", packet, dnat=False) == "drop"


@given(accounts.drawn(), st.randoms(use_true_random=False))
def test_the_order_of_instances_and_groups_changes_nothing(
    account: tuple[list[Member], list[SecurityGroup]], random: object
) -> None:
    """Or the filter would be loaded again and again without a change."""
    members, groups = account
    shuffled = list(members), list(groups)
    for each in shuffled:
        random.shuffle(each)  # type: ignore[attr-defined]
    assert packet_filter.ruleset(*shuffled) == packet_filter.ruleset(members, groups)


def _subnet(reaches_internet: bool) -> Subnet:
    return Subnet(id="subnet-1", vpc_id=VPC, cidr="10.0.0.0/24", az="us-east-1a", reaches_internet=reaches_internet)


def test_a_public_address_counts_only_with_a_route_to_the_internet() -> None:
    vpcs, public = [Vpc(VPC, "10.0.0.0/16")], {"198.51.100.7": "10.0.0.1"}
    (connected,) = packet_filter.members([instance(1)], [_subnet(True)], vpcs, public)
    (shut_in,) = packet_filter.members([instance(1)], [_subnet(False)], vpcs, public)
    assert (connected.public, shut_in.public) == ("198.51.100.7", None)


def test_only_running_instances_are_members() -> None:
    states = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
    instances = [instance(number, state=state) for number, state in enumerate(states, 1)]
    found = packet_filter.members(instances, [_subnet(True)], [Vpc(VPC, "10.0.0.0/16")], {})
    assert [member.private for member in found] == ["10.0.0.1", "10.0.0.2"]


def test_an_instance_without_groups_is_closed_both_ways() -> None:
    found = packet_filter.members([instance(1)], [_subnet(True)], [Vpc(VPC, "10.0.0.0/16")], {})
    ruleset = packet_filter.ruleset(found, [group("sg-a", (rule("-1", cidr="0.0.0.0/0"),))])
    assert _verdict(ruleset, "to_000000000001", Packet("tcp", "192.0.2.10", 80), dnat=True) == "drop"
    assert _verdict(ruleset, "from_000000000001", Packet("tcp", "10.0.0.2", 80)) == "drop"


def test_a_cut_interface_is_silent_both_ways() -> None:
    ruleset = packet_filter.ruleset([], [], cut_interfaces={"v0123"})
    assert 'iifname { "v0123" } drop' in ruleset and 'oifname { "v0123" } drop' in ruleset
    assert "v0123" not in packet_filter.ruleset([], [])
