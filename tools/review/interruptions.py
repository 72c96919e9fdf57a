"""What a change of a running cluster interrupts, and for whom: the one home of these sentences.

docs/operations.md has the same rows as a table, which a test compares with `table()`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cluster.addressing import Role
from cluster.plan import ClusterPlan
from cluster.rollout import rollout
from tools.review.preview import Change


@dataclass(frozen=True)
class Row:
    """One kind of change."""

    change: str
    """What a person changes."""
    happens: str
    notices: str
    """Who notices, and how."""


ADDED: Final = Row("more nodes", "they are made, all at once, and take their share", "nobody")
REMOVED: Final = Row(
    "fewer nodes",
    "the last ones are taken out, drained, terminated, and leave the cluster's list",
    "sessions that last longer than `media.drainMinutes` are cut; players come back on another node",
)
REPLACED: Final = Row(
    "another `media.ami` or `instanceType`",
    "node after node is drained, replaced, proven, taken back: one origin, and a quarter of the edges at a time",
    "sessions that last longer than `media.drainMinutes` are cut, node by node; players come back on another one. "
    "A publisher has to connect again, which every encoder does",
)
SERVERS: Final = Row(
    "the database's login, the licence key",
    "server after server is drained and started again, in the same turns",
    "as when nodes are replaced",
)
BALANCER_REPLACED: Final = Row(
    "the load balancer's image", "the host is replaced", "everybody, for about a minute: there is one"
)
BALANCER_RESIZED: Final = Row(
    "the load balancer's `instanceType`", "EC2 stops its host and starts it again", "everybody, until it is back"
)
RELOADED: Final = Row(
    "haproxy.cfg by any setting",
    "a reload; running sessions go on in the old worker, at most `loadBalancer.timeouts.drainMinutes`",
    "nobody",
)
DATABASE_REPLACED: Final = Row(
    "the database's image",
    "its host is replaced, and the volume with the data goes over",
    "media nodes cannot find each other's streams meanwhile",
)
DATABASE_RESIZED: Final = Row(
    "the database's `instanceType`", "EC2 stops its host and starts it again", "as when its host is replaced"
)
VOLUME_GROWN: Final = Row(
    "`database.volumeGb`", "the volume grows, then its file system", "the database is away for some seconds"
)
VOLUME_LOST: Final = Row(
    "`database.mode`, where the volume goes",
    "the data are lost; with `database.onDestroy: snapshot` a snapshot is left",
    "every node: the cluster begins with an empty database, or with another one",
)
ADDRESS: Final = Row(
    "the Elastic IP, where it goes",
    "the cluster has another public address",
    "everybody, until the names lead to it",
)
NAMES: Final = Row(
    "a name fewer, or another `dns.zone`", "its record goes", "who uses that name; resolvers forget it in 60 s"
)
FIREWALL: Final = Row("`adminCidrs`, or a port that is closed", "a firewall rule goes", "whom it let in")

ROWS: Final = (
    ADDED, REMOVED, REPLACED, SERVERS, BALANCER_REPLACED, BALANCER_RESIZED, RELOADED, DATABASE_REPLACED,
    DATABASE_RESIZED, VOLUME_GROWN, VOLUME_LOST, ADDRESS, NAMES, FIREWALL,
)  # fmt: skip


@dataclass(frozen=True)
class Interruption:
    """What some of a preview's changes mean for those who use the cluster."""

    row: Row | None
    """None where nothing is known of what it interrupts."""
    what: tuple[str, ...]
    """Names of nodes or resources, in order."""
    turns: tuple[tuple[str, ...], ...] = ()
    """The nodes in the order in which they are drained: those of one turn at the same time."""
    minutes: int = 0
    """How long each turn waits for its sessions, at most."""


def table() -> str:
    """The rows as Markdown."""
    lines = ["| change | what happens | who notices |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.change} | {row.happens} | {row.notices} |" for row in ROWS)])


_INSTANCE: Final = "aws:ec2/instance:Instance"
_COMMAND: Final = "command:remote:Command"
_VOLUME: Final = "aws:ebs/volume:Volume"
_ADDRESS: Final = "aws:ec2/eip:Eip"
_RECORD: Final = "aws:route53/record:Record"
_RULES: Final = tuple(f"aws:vpc/securityGroup{way}Rule:SecurityGroup{way}Rule" for way in ("Ingress", "Egress"))
_GOES: Final = ("replace", "delete")

_FOLLOWS: Final = (
    "aws:ec2/eipAssociation:EipAssociation",
    "aws:ec2/volumeAttachment:VolumeAttachment",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "pulumi:providers:",
    _COMMAND,
)
"""Goes and comes with what it is about, of which there is a row."""

_UNNOTICED: Final = ("aws:iam/", "aws:cloudwatch/", "aws:sns/")
"""No session depends on these."""


def interruptions(changes: Sequence[Change], plan: ClusterPlan) -> list[Interruption]:
    """What a preview's changes interrupt, the most noticed first; nothing for what nobody could notice.

    `plan` is the one that the preview was made with: a removed node is in the changes only.
    """
    return [
        *_simple(BALANCER_REPLACED, changes, _host(Role.LOAD_BALANCER, _GOES)),
        *_simple(BALANCER_RESIZED, changes, _host(Role.LOAD_BALANCER, ("update",), "instanceType")),
        *_simple(ADDRESS, changes, lambda each: each.type == _ADDRESS and each.operation in _GOES),
        *_simple(VOLUME_LOST, changes, lambda each: each.type == _VOLUME and each.operation in _GOES),
        *_simple(NAMES, changes, lambda each: each.type == _RECORD and each.operation in _GOES),
        *_media(changes, plan),
        *_simple(DATABASE_REPLACED, changes, _host(Role.DATABASE, _GOES)),
        *_simple(DATABASE_RESIZED, changes, _host(Role.DATABASE, ("update",), "instanceType")),
        *_simple(VOLUME_GROWN, changes, lambda each: each.type == _VOLUME and "size" in _updated(each)),
        *_simple(FIREWALL, changes, lambda each: each.type in _RULES and each.operation in _GOES),
        *_simple(None, changes, _is_unknown),
        *_simple(RELOADED, changes, lambda each: each.name == "lb-1-configure" and each.operation == "update"),
    ]


def _simple(row: Row | None, changes: Iterable[Change], applies: Callable[[Change], bool]) -> Iterator[Interruption]:
    if what := tuple(each.name for each in changes if applies(each)):
        yield Interruption(row, what)


def _updated(change: Change) -> Collection[str]:
    return change.properties if change.operation == "update" else ()


def _host(role: Role, operations: Collection[str], differing: str | None = None) -> Callable[[Change], bool]:
    def applies(change: Change) -> bool:
        is_host = change.type == _INSTANCE and _role(change.name) == role
        return is_host and change.operation in operations and (differing is None or differing in change.properties)

    return applies


def _role(node: str) -> str:
    return node.rpartition("-")[0]


def _is_unknown(change: Change) -> bool:
    has_row = change.type in (_INSTANCE, _VOLUME, _ADDRESS, _RECORD, *_RULES)
    return change.operation in _GOES and not has_row and not change.type.startswith((*_FOLLOWS, *_UNNOTICED))


def _media(changes: Sequence[Change], plan: ClusterPlan) -> Iterator[Interruption]:
    roles = (Role.ORIGIN, Role.EDGE)
    hosts = {each.name: each.operation for each in changes if each.type == _INSTANCE and _role(each.name) in roles}
    drained = {
        each.name.removesuffix("-drain")
        for each in changes
        if each.type == _COMMAND and each.name.endswith("-drain") and each.operation == "replace"
    }
    minutes = plan.settings.media.drain_minutes
    if removed := tuple(name for name, operation in hosts.items() if operation == "delete"):
        yield Interruption(REMOVED, removed, (removed,), minutes)

    replaced = {name for name, operation in hosts.items() if operation == "replace"}
    turns = _turns(plan, hosts, replaced | drained)
    for row, nodes in ((REPLACED, replaced), (SERVERS, drained - replaced)):
        if nodes:
            of_these = tuple(filter(None, (tuple(name for name in turn if name in nodes) for turn in turns)))
            yield Interruption(row, tuple(name for turn in of_these for name in turn), of_these, minutes)
    if added := tuple(name for name, operation in hosts.items() if operation == "create"):
        yield Interruption(ADDED, added)


def _turns(plan: ClusterPlan, hosts: dict[str, str], touched: Collection[str]) -> list[list[str]]:
    """The nodes that are drained, in the order in which the program lets them be touched."""
    order = rollout(plan, [node.address for node in plan.media if hosts.get(node.name) != "create"])
    turn_of: dict[str, int] = {}
    turns: list[list[str]] = []
    for name in (node.name for node in order.present):
        before = turn_of.get(order.predecessors.get(name, ""), 0)
        turn_of[name] = before + (name in touched)
        if name in touched:
            turns.extend([] for _ in range(turn_of[name] - len(turns)))
            turns[before].append(name)
    return turns
