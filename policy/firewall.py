"""Who may reach a host: held against the firewall table, which the program makes its rules from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cluster.firewall import ROWS, SSH, STATS, Direction, Group, Peer, Ports
from cluster.settings import ADMIN_SHORTEST_PREFIX
from policy.rule import UNKNOWN, Finding, Resource, entries, of

OPEN: Final = frozenset(
    (row.group.value, row.ports) for row in ROWS if row.direction is Direction.INGRESS and row.peer is Peer.ANYWHERE
)
"""What the table opens to the world: group and ports."""

ANY: Final = Ports("-1", 0, 65535)


@dataclass(frozen=True)
class Opening:
    """Ports of a group that addresses may reach."""

    resource: Resource
    group: str | None
    """The Pulumi name of the security group; None where that is not known."""
    ports: Ports
    cidr: str

    @property
    def is_to_the_world(self) -> bool:
        """Whether more addresses are let in than adminCidrs may ever name."""
        try:
            network = ipaddress.ip_network(self.cidr, strict=False)
        except ValueError:
            return False
        return network.prefixlen < ADMIN_SHORTEST_PREFIX

    @property
    def is_administration(self) -> bool:
        """Whether SSH or the statistics page is among the ports."""
        ports = self.ports
        return ports.protocol in ("-1", "tcp", "6") and any(ports.first <= port <= ports.last for port in (SSH, STATS))

    def __str__(self) -> str:
        ports = self.ports
        which = "every port" if ports == ANY else f"{ports.first}-{ports.last}/{ports.protocol}"
        return f"{which} of the group {self.group or '?'} is open to {self.cidr}"


def openings(resources: Sequence[Resource]) -> Iterator[Opening]:
    """Everything that lets addresses in, by whichever kind of resource."""
    groups = list(of(resources, "SecurityGroup", "DefaultSecurityGroup"))
    for rule in of(resources, "SecurityGroupIngressRule", "SecurityGroupRule"):
        if rule.kind == "SecurityGroupIngressRule" or rule.get("type") == "ingress":
            group = next((each.name for each in groups if rule.leads_to("securityGroupId", each)), None)
            protocol = rule.get("ipProtocol") or rule.get("protocol")
            yield from _each(rule, group, protocol, rule.properties)
    for made in groups:
        for inline in entries(made.get("ingress")):
            yield from _each(made, made.name, inline.get("protocol"), inline)


def _each(resource: Resource, group: str | None, protocol: Any, held: Any) -> Iterator[Opening]:
    first, last = held.get("fromPort"), held.get("toPort")
    # Without ports, and while they are not known, it may be any.
    is_any = str(protocol) == "-1" or None in (first, last) or UNKNOWN in (first, last)
    ports = ANY if is_any else Ports(str(protocol), int(first), int(last))
    for name in ("cidrIpv4", "cidrIpv6", "cidrBlocks", "ipv6CidrBlocks"):
        for cidr in entries(held.get(name)):
            yield Opening(resource, group, ports, str(cidr))


def world_open_ports(resources: Sequence[Resource]) -> Iterator[Finding]:
    """Ports that the world may reach, and the table does not open; those of administrators have a rule of their own."""
    for each in openings(resources):
        if each.is_to_the_world and not each.is_administration and (each.group, each.ports) not in OPEN:
            yield each.resource, str(each)


def administration_is_closed(resources: Sequence[Resource]) -> Iterator[Finding]:
    """SSH and the statistics page, open to the world."""
    for each in openings(resources):
        if each.is_to_the_world and each.is_administration:
            yield each.resource, str(each)


def database_is_closed(resources: Sequence[Resource]) -> Iterator[Finding]:
    """An address that lasts, or a port that an address may reach, of a database host."""
    for each in openings(resources):
        # What is open to the world is for the two rules above.
        if each.group == Group.DATABASE.value and not each.is_to_the_world:
            yield each.resource, str(each)
    hosts = [each for each in of(resources, "Instance") if _role(each) == Group.DATABASE.value]
    for given in of(resources, "EipAssociation", "Eip"):
        for host in hosts:
            if any(given.leads_to(name, host) for name in ("instanceId", "instance")):
                yield given, f"{host.name} has an Elastic IP"


def _role(host: Resource) -> Any:
    return (host.get("tags") or {}).get("Role")


def default_group_is_closed(resources: Sequence[Resource]) -> Iterator[Finding]:
    """VPCs whose default group is not kept empty."""
    kept = list(of(resources, "DefaultSecurityGroup"))
    for vpc in of(resources, "Vpc"):
        if not any(group.leads_to("vpcId", vpc) for group in kept):
            yield vpc, f"the default security group of {vpc.name} is not closed"
    for group in kept:
        if entries(group.get("ingress")) or entries(group.get("egress")):
            yield group, f"{group.name} has rules"
