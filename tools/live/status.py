"""What a deployment does right now, and what of that needs somebody: the document that `make status` shows.

With --json its keys are these fields' names in camelCase: docs/status.md has them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from cluster import haproxy
from tools.live import answers

CERTIFICATE_DAYS: Final = 14
"""Let's Encrypt's are renewed when a third of their 90 days is left, so something has failed for long by then."""

ROLES: Final = ("origin", "edge", "db")
"""In the order in which a stream meets them."""

RTMP_POOL: Final = "rtmp"
SELF_SIGNED: Final = "antmedia self-signed"
"""In the issuer of the certificates that the load balancer makes for itself: templates/certbot."""

State = Literal["up", "down", "drain", "maint", "unknown"]


class NotAnsweringError(Exception):
    """HAProxy itself does not answer."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class OldWorker(_Part):
    """A process that a reload left behind, until its last session ends."""

    pid: int
    age_seconds: int
    sessions: int


class LoadBalancer(_Part):
    """HAProxy and its host."""

    name: str
    address: str
    image: str | None
    version: str
    uptime_seconds: int
    last_reload_seconds: int | None
    """How long ago; None when there was none."""
    reloads: int
    failed_reloads: int
    connections: int
    max_connections: int
    old_workers: tuple[OldWorker, ...]


class Certificate(_Part):
    """The one that is served."""

    names: tuple[str, ...]
    ends: datetime
    days_left: int
    issuer: str
    renewal: str | None
    """The last words of what orders it from Let's Encrypt; None where nothing does."""


class Check(_Part):
    """A node's last health check."""

    outcome: str
    http_status: int | None
    milliseconds: int | None
    said: str | None


class Node(_Part):
    """A host behind the load balancer. Fields about the pool are None for a host that is in none."""

    name: str
    role: str
    address: str
    image: str | None
    state: State | None
    since_seconds: int | None
    last_check: Check | None
    sessions: int | None
    """All of them, those in old workers too."""
    rtmp_connections: int | None


class Status(_Part):
    """One look at a deployment."""

    stack: str
    time: datetime
    load_balancer: LoadBalancer
    certificate: Certificate | None
    nodes: tuple[Node, ...]
    problems: tuple[str, ...]
    """One sentence each; none when all is well."""


def status(stack: str, time: datetime, outputs: Mapping[str, Any], images: Mapping[str, str], gathered: str) -> Status:
    """From the stack's outputs, the hosts' images by name, and what gather.sh printed on the load balancer.

    Raises:
        NotAnsweringError: HAProxy was not heard.
    """
    said = answers.sections(gathered)
    processes = answers.processes(said.get("processes", ""))
    information = answers.information(said.get("information", ""))
    if not processes or "Version" not in information:
        raise NotAnsweringError
    now = answers.servers(said.get("statistics", ""), haproxy.HEALTH_POOL, RTMP_POOL)
    before = {
        worker.pid: answers.servers(said.get(f"statistics {worker.pid}", ""), haproxy.HEALTH_POOL, RTMP_POOL)
        for worker in processes.old
    }
    hosts: Mapping[str, Mapping[str, str]] = outputs["nodes"]
    (entrance,) = [name for name, host in hosts.items() if host["role"] == "lb"]
    nodes = tuple(
        _node(
            name,
            hosts.get(name, {}),
            images.get(name),
            now.get(name),
            [seen[name] for seen in before.values() if name in seen],
        )
        for name in {**hosts, **now}
        if name != entrance
    )
    load_balancer = LoadBalancer(
        name=entrance,
        address=hosts[entrance]["publicAddress"],
        image=images.get(entrance),
        version=information["Version"],
        uptime_seconds=processes.master.age,
        last_reload_seconds=processes.worker.age if processes.master.reloads > processes.master.failed else None,
        reloads=processes.master.reloads - processes.master.failed,
        failed_reloads=processes.master.failed,
        connections=int(information["CurrConns"]),
        max_connections=int(information["Maxconn"]),
        old_workers=tuple(
            OldWorker(
                pid=worker.pid,
                age_seconds=worker.age,
                sessions=sum(server.sessions for server in before[worker.pid].values()),
            )
            for worker in processes.old
        ),
    )
    mode = str(outputs["certificate"]["mode"])
    certificate = _certificate(said, time, orders=mode == "letsencrypt")
    return Status(
        stack=stack,
        time=time,
        load_balancer=load_balancer,
        certificate=certificate,
        nodes=tuple(sorted(nodes, key=_order)),
        problems=tuple(_problems(stack, load_balancer, certificate, nodes, mode)),
    )


def _node(
    name: str,
    host: Mapping[str, str],
    image: str | None,
    now: answers.Server | None,
    before: list[answers.Server],
) -> Node:
    in_pool = now is not None or host["role"] in ("origin", "edge")
    sessions = sum(each.sessions for each in (now, *before) if each)
    check = None
    if now and now.check:
        check = Check(
            outcome=now.check,
            http_status=now.check_status,
            milliseconds=now.check_milliseconds,
            said=now.check_said or None,
        )
    return Node(
        name=name,
        role=host.get("role", "unknown"),
        address=host.get("privateAddress", ""),
        image=image,
        state=_state(now, sessions) if in_pool else None,
        since_seconds=now.since if now else None,
        last_check=check,
        sessions=sessions if in_pool else None,
        rtmp_connections=sum(each.rtmp for each in (now, *before) if each) if in_pool else None,
    )


def _order(node: Node) -> tuple[int, int, str]:
    return ROLES.index(node.role) if node.role in ROLES else len(ROLES), len(node.name), node.name


def _state(now: answers.Server | None, sessions: int) -> State:
    match now.status.split()[:1] if now else []:
        case ["UP"]:
            return "up"
        case ["DOWN"]:
            return "down"
        case ["DRAIN" | "NOLB"]:
            return "drain"
        case ["MAINT"]:  # a deployment's drain too: what is left goes on
            return "drain" if sessions else "maint"
    return "unknown"


def _certificate(said: Mapping[str, str], time: datetime, *, orders: bool) -> Certificate | None:
    served = answers.certificate(said.get("certificate", ""))
    if not served:
        return None
    return Certificate(
        names=served.names,
        ends=served.ends,
        days_left=(served.ends - time.astimezone(UTC)).days,
        issuer=served.issuer,
        renewal=(said.get("renewal", "").strip() or None) if orders else None,
    )


def _problems(
    stack: str, load_balancer: LoadBalancer, certificate: Certificate | None, nodes: tuple[Node, ...], mode: str
) -> Iterator[str]:
    pooled = [node for node in nodes if node.state]
    if not any(node.state == "up" for node in pooled):
        yield "No node is up: viewers and publishers are refused."
    for node in pooled:
        if node.state == "down":
            why = node.last_check
            said = f" ({why.outcome}{f': {why.said}' if why.said else ''})" if why else ""
            yield f"{node.name} is down{said}. To replace it: make repair STACK={stack} NODE={node.name}."
        if node.state == "unknown":
            yield f"{node.name} is not in the load balancer's pools. The next update puts it there."
    if load_balancer.connections >= 0.9 * load_balancer.max_connections:
        yield (
            f"{load_balancer.connections} of {load_balancer.max_connections} connections are taken; "
            "loadBalancer.instanceType decides how many there may be."
        )
    if not certificate:
        yield f"HAProxy shows no certificate at {haproxy.CERTIFICATE}."
    elif mode == "letsencrypt" and SELF_SIGNED in certificate.issuer:
        yield f"The certificate is self-signed still: {certificate.renewal or 'none has been ordered'}."
    elif certificate.days_left < CERTIFICATE_DAYS:
        left = f"ends in {certificate.days_left} days" if certificate.days_left >= 0 else "has ended"
        yield f"The certificate {left}."
