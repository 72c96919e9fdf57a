"""Who may talk to whom, on which port, and why: one keyed table. Each row becomes one rule resource per source."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cluster import database
from cluster.plan import ClusterPlan
from cluster.settings import DatabaseMode


class Group(enum.StrEnum):
    """A security group."""

    LOAD_BALANCER = "lb"
    MEDIA = "media"
    DATABASE = "db"


class Peer(enum.StrEnum):
    """Ends of a connection that are not a security group."""

    ANYWHERE = "anywhere"
    ADMIN = "admin"
    """`adminCidrs`."""


class Direction(enum.StrEnum):
    """Seen from the group that a rule belongs to."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True)
class Ports:
    """An inclusive range of one protocol's ports."""

    protocol: str
    first: int
    last: int


def tcp(port: int) -> Ports:
    """One TCP port."""
    return Ports("tcp", port, port)


def udp(first: int, last: int) -> Ports:
    """A range of UDP ports."""
    return Ports("udp", first, last)


@dataclass(frozen=True)
class Row:
    """One line of the table. `peer` is the source of ingress and the destination of egress."""

    key: str
    group: Group
    direction: Direction
    ports: Ports
    peer: Group | Peer
    why: str
    only_with_tls: bool = False
    """Left out with `tls.mode: none`."""
    only_with_database: DatabaseMode | None = None
    """Left out with any other `database.mode`."""
    only_in_cluster: bool = False
    """Left out where the nodes form no cluster."""


HTTP: Final = 80
HTTPS: Final = 443
AMS_HTTP: Final = 5080
AMS_HTTPS: Final = 5443
RTMP: Final = 1935
RTMPS: Final = 1936
AMS_ORIGIN: Final = 5000
"""Where a node of a cluster gives streams to the others."""
STATS: Final = 6080
SSH: Final = 22
WEBRTC_MEDIA: Final = (50000, 60000)
"""Ant Media Server's default range. WebRTC media goes to the node itself, not through the load balancer."""

_IN, _OUT = Direction.INGRESS, Direction.EGRESS
_LB, _MEDIA, _DB = Group.LOAD_BALANCER, Group.MEDIA, Group.DATABASE
_MANAGED, _EXTERNAL = DatabaseMode.MANAGED, DatabaseMode.EXTERNAL

ROWS: Final = (
    Row("lb-http", _LB, _IN, tcp(HTTP), Peer.ANYWHERE, "HTTP and certificate validation"),
    Row("lb-https", _LB, _IN, tcp(HTTPS), Peer.ANYWHERE, "HTTPS, WSS and RTMPS", only_with_tls=True),
    Row("lb-ams-http", _LB, _IN, tcp(AMS_HTTP), Peer.ANYWHERE, "HTTP and HTTPS on the AMS port"),
    Row(
        "lb-ams-https",
        _LB,
        _IN,
        tcp(AMS_HTTPS),
        Peer.ANYWHERE,
        "HTTPS, WSS and RTMPS on the AMS port",
        only_with_tls=True,
    ),
    Row("lb-rtmp", _LB, _IN, tcp(RTMP), Peer.ANYWHERE, "RTMP"),
    Row("lb-rtmps", _LB, _IN, tcp(RTMPS), Peer.ANYWHERE, "RTMPS", only_with_tls=True),
    Row("lb-ssh", _LB, _IN, tcp(SSH), Peer.ADMIN, "SSH for administrators and deployments"),
    Row("lb-stats", _LB, _IN, tcp(STATS), Peer.ADMIN, "HAProxy statistics page"),
    Row("lb-to-media-http", _LB, _OUT, tcp(AMS_HTTP), _MEDIA, "HTTP, WebSocket and health checks"),
    Row("lb-to-media-rtmp", _LB, _OUT, tcp(RTMP), _MEDIA, "RTMP"),
    Row("lb-to-media-ssh", _LB, _OUT, tcp(SSH), _MEDIA, "SSH to media nodes, of who came to the load balancer by SSH"),
    Row("lb-to-http", _LB, _OUT, tcp(HTTP), Peer.ANYWHERE, "Debian packages"),
    Row("lb-to-https", _LB, _OUT, tcp(HTTPS), Peer.ANYWHERE, "Debian packages, certificates and metrics"),
    Row(
        "lb-to-db-ssh", _LB, _OUT, tcp(SSH), _DB, "SSH of deployments to the database host", only_with_database=_MANAGED
    ),
    Row("media-http", _MEDIA, _IN, tcp(AMS_HTTP), _LB, "HTTP and WebSocket from the load balancer"),
    Row("media-rtmp", _MEDIA, _IN, tcp(RTMP), _LB, "RTMP from the load balancer"),
    Row("media-ssh", _MEDIA, _IN, tcp(SSH), _LB, "SSH through the load balancer"),
    Row("media-origin", _MEDIA, _IN, tcp(AMS_ORIGIN), _MEDIA, "Streams between nodes", only_in_cluster=True),
    Row("media-rtmp-nodes", _MEDIA, _IN, tcp(RTMP), _MEDIA, "RTMP between nodes", only_in_cluster=True),
    Row("media-nodes", _MEDIA, _IN, tcp(AMS_HTTP), _MEDIA, "HTTP between nodes", only_in_cluster=True),
    Row("media-to-origin", _MEDIA, _OUT, tcp(AMS_ORIGIN), _MEDIA, "Streams between nodes", only_in_cluster=True),
    Row("media-to-rtmp-nodes", _MEDIA, _OUT, tcp(RTMP), _MEDIA, "RTMP between nodes", only_in_cluster=True),
    Row("media-to-nodes", _MEDIA, _OUT, tcp(AMS_HTTP), _MEDIA, "HTTP between nodes", only_in_cluster=True),
    Row("media-webrtc", _MEDIA, _IN, udp(*WEBRTC_MEDIA), Peer.ANYWHERE, "WebRTC media of viewers"),
    Row("media-to-http", _MEDIA, _OUT, tcp(HTTP), Peer.ANYWHERE, "Debian packages"),
    Row("media-to-https", _MEDIA, _OUT, tcp(HTTPS), Peer.ANYWHERE, "Debian packages and the licence service"),
    Row("media-to-webrtc", _MEDIA, _OUT, udp(1024, 65535), Peer.ANYWHERE, "WebRTC media and STUN"),
    Row(
        "media-to-db", _MEDIA, _OUT, tcp(database.PORT), _DB, "The database of the cluster", only_with_database=_MANAGED
    ),
    # Its address may change: who it is, the login and TLS tell. One row for each port of databaseLogin.uri.
    Row(
        "media-to-external-db",
        _MEDIA,
        _OUT,
        tcp(database.PORT),
        Peer.ANYWHERE,
        "The database of the cluster",
        only_with_database=_EXTERNAL,
    ),
    Row(
        "db-mongodb", _DB, _IN, tcp(database.PORT), _MEDIA, "The database for media nodes", only_with_database=_MANAGED
    ),
    Row("db-ssh", _DB, _IN, tcp(SSH), _LB, "SSH of deployments", only_with_database=_MANAGED),
    Row("db-to-http", _DB, _OUT, tcp(HTTP), Peer.ANYWHERE, "Debian packages", only_with_database=_MANAGED),
    Row(
        "db-to-https",
        _DB,
        _OUT,
        tcp(HTTPS),
        Peer.ANYWHERE,
        "Packages, backups and metrics",
        only_with_database=_MANAGED,
    ),
)
"""Reaching AWS's own resolver, time and metadata services needs no row: security groups do not apply to them."""


@dataclass(frozen=True)
class Rule:
    """One row with one other end: exactly one of `cidr` and `peer_group` is set."""

    key: str
    row: Row
    cidr: str | None = None
    peer_group: Group | None = None


def groups(plan: ClusterPlan) -> list[Group]:
    """The security groups that the plan has hosts for."""
    return [group for group in Group if group is not Group.DATABASE or plan.database]


def _rows(plan: ClusterPlan) -> Iterator[Row]:
    for row in ROWS:
        if row.only_with_tls and not plan.serves_tls:
            continue
        if row.only_with_database not in (None, plan.settings.database_mode):
            continue
        if row.only_in_cluster and not plan.forms_cluster:
            continue
        if row.only_with_database is _EXTERNAL:
            for port in database.external_ports(plan.settings):
                yield dataclasses.replace(row, key=f"{row.key}-{port}", ports=tcp(port))
        else:
            yield row


def rules(plan: ClusterPlan) -> Iterator[Rule]:
    """The table for one plan: a rule for each row and source, keyed by both."""
    for row in _rows(plan):
        match row.peer:
            case Group():
                yield Rule(row.key, row, peer_group=row.peer)
            case Peer.ANYWHERE:
                yield Rule(row.key, row, cidr="0.0.0.0/0")
            case Peer.ADMIN:
                for cidr in sorted(set(plan.settings.admin_cidrs)):
                    yield Rule(f"{row.key}-{cidr.replace('/', '-')}", row, cidr=cidr)
