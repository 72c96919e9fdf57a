"""CIDR arithmetic: a subnet for every zone, an address for every node.

Both are stable: a zone's subnet depends on nothing but its number, a node's address on nothing but its role and number
and the count of zones. So nodes can be added and removed without moving any other.
"""

from __future__ import annotations

import enum
from ipaddress import IPv4Address, IPv4Network
from typing import Final

VPC_PREFIX_LENGTHS: Final = (16, 20)
"""The widest and the narrowest VPC. AWS allows /16 to /28; /20 still has a /24 subnet for each of 6 zones to spare."""

SUBNET_PREFIX_LENGTH: Final = 24
MAX_ZONES: Final = 6
"""us-east-1 has six zones, more than any other region."""

MAX_NODES_PER_ROLE: Final = 100

PRIVATE_BLOCKS: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""RFC 1918."""


class Role(enum.StrEnum):
    """What a host is for. The value begins the names of its nodes."""

    LOAD_BALANCER = "lb"
    ORIGIN = "origin"
    EDGE = "edge"
    DATABASE = "db"


_FIRST_OFFSET: Final = {Role.LOAD_BALANCER: 10, Role.DATABASE: 20, Role.ORIGIN: 32, Role.EDGE: 132}
"""Where a role's addresses begin in each subnet. AWS keeps offsets 0 to 3 and the last one; 4 to 31 leave room."""


def zone_of(number: int, zones: int) -> int:
    """The zone (1, 2, …) of a role's node number 1, 2, …: in turn, so that every count is spread evenly."""
    return (number - 1) % zones + 1


def subnet(vpc: IPv4Network, zone: int) -> IPv4Network:
    """The subnet of zone 1, 2, …"""
    step = 1 << (32 - SUBNET_PREFIX_LENGTH)
    return IPv4Network((int(vpc.network_address) + (zone - 1) * step, SUBNET_PREFIX_LENGTH))


def address(vpc: IPv4Network, role: Role, number: int, zones: int) -> IPv4Address:
    """The private address of a role's node number 1, 2, …"""
    if not 1 <= number <= MAX_NODES_PER_ROLE:
        raise ValueError(f"{role}-{number}: a role has nodes 1 to {MAX_NODES_PER_ROLE}")
    offset = _FIRST_OFFSET[role] + (number - 1) // zones
    return subnet(vpc, zone_of(number, zones)).network_address + offset
