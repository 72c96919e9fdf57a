"""What is to exist: `plan(settings, …)` turns settings into nodes, subnets and fixed addresses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from cluster import addressing
from cluster.addressing import Role
from cluster.settings import DatabaseMode, Settings, TlsMode

USABLE_ZONES: Final = {"state": "available", "opt-in-status": "opt-in-not-required"}
"""Filters of EC2's list of a region's zones. By their names, the first of them is zone 1."""

DATABASE_ROOT_GB: Final = 10
"""Debian and the packages; the data have a volume of their own."""


@dataclass(frozen=True)
class Zone:
    """One availability zone and the public subnet in it. `number` counts from 1 in the order of the zones' names."""

    number: int
    subnet: IPv4Network

    @property
    def name(self) -> str:
        """A stable key."""
        return f"zone-{self.number}"


@dataclass(frozen=True)
class Node:
    """One host. `name` is its stable key: `lb-1`, `origin-1`, `edge-1`, `db-1`. `volume_gb` is its root volume."""

    name: str
    role: Role
    zone: Zone
    address: IPv4Address
    ami: str
    instance_type: str
    volume_gb: int


@dataclass(frozen=True)
class ClusterPlan:
    """Everything that is to exist, decided."""

    project: str
    stack: str
    settings: Settings
    vpc: IPv4Network
    zones: tuple[Zone, ...]
    load_balancer: Node
    origins: tuple[Node, ...]
    edges: tuple[Node, ...]
    database: Node | None
    """None where the database is somebody else's, or none is needed."""

    @property
    def media(self) -> tuple[Node, ...]:
        """Every media node, origins first."""
        return self.origins + self.edges

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every host."""
        return (self.load_balancer, *self.media, *((self.database,) if self.database else ()))

    @property
    def serves_tls(self) -> bool:
        """Whether viewers are served over TLS."""
        return self.settings.tls.mode is not TlsMode.NONE

    @property
    def orders_certificates(self) -> bool:
        """Whether the load balancer gets its certificate from an authority by itself."""
        return self.settings.tls.mode is TlsMode.LETSENCRYPT

    @property
    def forms_cluster(self) -> bool:
        """Whether the nodes know each other's streams. Without a database each serves what was published to it."""
        return self.settings.database_mode is not DatabaseMode.NONE

    @cached_property
    def first_app(self) -> str:
        """The application that viewers are sent to."""
        return self.settings.media.apps[0]

    @property
    def flow_log_group(self) -> str:
        """The name of the log group that the VPC's flow logs go to."""
        return f"/{self.project}/{self.stack}/flow-log"

    @property
    def stack_tags(self) -> dict[str, str]:
        """What every object of the stack has, and no other object."""
        return stack_tags(self.project, self.stack)

    def tags(self, role: str, node: str) -> dict[str, str]:
        """The tags of one object: `role` says what it serves (`network` where it serves all), `node` names it."""
        return tags(self.project, self.stack, role, node)


def stack_tags(project: str, stack: str) -> dict[str, str]:
    """The tags of a stack."""
    return {"Project": project, "Stack": stack, "ManagedBy": "pulumi"}


def tags(project: str, stack: str, role: str, node: str) -> dict[str, str]:
    """The tags of one object of a stack."""
    return {"Name": f"{project}-{stack}-{node}", "Role": role, "Node": node, **stack_tags(project, stack)}


def plan(settings: Settings, *, project: str, stack: str) -> ClusterPlan:
    """Decide what a stack consists of. Pure: the same settings always give the same plan."""
    vpc = IPv4Network(settings.network.cidr)
    zones = tuple(Zone(n, addressing.subnet(vpc, n)) for n in range(1, settings.network.zones + 1))

    def node(role: Role, number: int, ami: str, instance_type: str, volume_gb: int) -> Node:
        return Node(
            name=f"{role}-{number}",
            role=role,
            zone=zones[addressing.zone_of(number, len(zones)) - 1],
            address=addressing.address(vpc, role, number, len(zones)),
            ami=ami,
            instance_type=instance_type,
            volume_gb=volume_gb,
        )

    media, balancer, database = settings.media, settings.load_balancer, settings.database
    origins, edges = (
        tuple(node(role, n, media.ami, group.instance_type, group.volume_gb) for n in range(1, group.count + 1))
        if group
        else ()
        for role, group in ((Role.ORIGIN, media.origins), (Role.EDGE, media.edge_group))
    )
    return ClusterPlan(
        project=project,
        stack=stack,
        settings=settings,
        vpc=vpc,
        zones=zones,
        load_balancer=node(Role.LOAD_BALANCER, 1, balancer.ami, balancer.instance_type, balancer.volume_gb),
        origins=origins,
        edges=edges,
        database=node(Role.DATABASE, 1, database.ami, database.instance_type, DATABASE_ROOT_GB)
        if settings.database_mode is DatabaseMode.MANAGED
        else None,
    )
