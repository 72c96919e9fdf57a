"""What there is to look at from outside, by the plan and the stack's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster import database, firewall, haproxy
from cluster.firewall import Direction, Group, Peer
from cluster.plan import ClusterPlan
from cluster.settings import ClearHttp, Tls, TlsMode

_INSIDE: Final = {
    "lb": (database.PORT, haproxy.METRICS_PORT, haproxy.ACME_PORT),
    "origin": (firewall.SSH, firewall.RTMP, firewall.AMS_HTTP, firewall.AMS_ORIGIN),
    "edge": (firewall.SSH, firewall.RTMP, firewall.AMS_HTTP, firewall.AMS_ORIGIN),
    "db": (firewall.SSH, database.PORT),
}
"""By role: where something listens, or might, that is nobody's business on the internet."""


@dataclass(frozen=True)
class Endpoint:
    """A port of a host's public address."""

    node: str
    address: str
    port: int


@dataclass(frozen=True)
class Target:
    """A deployment as the internet sees it."""

    stack: str
    address: str
    """The load balancer's."""
    names: tuple[str, ...]
    app: str
    tls: TlsMode
    private_authority: bool
    """Whether certificates are ordered from another one than Let's Encrypt, which may need to be trusted first."""
    redirects: bool
    """Whether what comes in the clear is led to TLS."""
    public_ports: tuple[int, ...]
    admin_ports: tuple[int, ...]
    closed: tuple[Endpoint, ...]

    @property
    def host(self) -> str:
        """What a viewer types."""
        return self.names[0] if self.names else self.address

    @property
    def rtmp_ports(self) -> tuple[tuple[int, bool], ...]:
        """And whether they speak TLS."""
        secure = (firewall.RTMPS, firewall.HTTPS, firewall.AMS_HTTPS)
        return ((firewall.RTMP, False), *((port, True) for port in secure if port in self.public_ports))

    @property
    def redirecting_ports(self) -> tuple[int, ...]:
        """In the clear."""
        clear = (firewall.HTTP, firewall.AMS_HTTP) if self.redirects else ()
        return tuple(port for port in clear if port in self.public_ports)


def target(plan: ClusterPlan, outputs: Mapping[str, Any]) -> Target:
    """Of a deployed stack."""
    rows = [rule.row for rule in firewall.rules(plan) if rule.row.direction is Direction.INGRESS]

    def ports(peer: Peer) -> tuple[int, ...]:
        own = (row for row in rows if row.group is Group.LOAD_BALANCER and row.peer is peer)
        return tuple(sorted({row.ports.first for row in own if row.ports.protocol == "tcp"}))

    tls = plan.settings.tls
    return Target(
        stack=plan.stack,
        address=outputs["loadBalancerAddress"],
        names=tuple(plan.settings.names),
        app=plan.first_app,
        tls=tls.mode,
        private_authority=plan.orders_certificates and tls.acme_directory != Tls.model_fields["acme_directory"].default,
        redirects=haproxy.load_balancer(plan).clear is ClearHttp.REDIRECT,
        public_ports=ports(Peer.ANYWHERE),
        admin_ports=ports(Peer.ADMIN),
        closed=tuple(
            Endpoint(name, node["publicAddress"], port)
            for name, node in outputs["nodes"].items()
            if node["publicAddress"]
            for port in _INSIDE.get(node["role"], ())
        ),
    )
