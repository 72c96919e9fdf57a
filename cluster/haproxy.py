"""The load balancer as data: listeners, pools, servers, limits, timeouts. Knows nothing of AWS.

Facts behind the values are in docs/decisions/haproxy.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cluster import firewall
from cluster.instance_types import INSTANCE_TYPES
from cluster.plan import ClusterPlan, Node

CONFIG: Final = "/etc/haproxy/haproxy.cfg"
STATS_USERS: Final = "/etc/haproxy/stats-users.cfg"
"""A second file, so that haproxy.cfg holds no secret and its diff can be read."""

CERTIFICATE: Final = "/etc/haproxy/tls/site.pem"
SERVER_STATE: Final = "/var/lib/haproxy/server-state"
TLS12_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
TLS13_CIPHERSUITES: Final = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
"""Mozilla's intermediate profile 6.0, less the finite-field ones."""

ADMIN_SOCKET: Final = "/run/haproxy/admin.sock"
MASTER_SOCKET: Final = "/run/haproxy-master.sock"
PUT: Final = "/usr/local/sbin/antmedia-haproxy-put"
"""Replaces one of HAProxy's files and has it used: templates/haproxy/put.sh.j2."""

CERTIFICATE_PROGRAM: Final = "/usr/local/sbin/antmedia-certificate"
"""Gets and renews the certificate: templates/certbot/certificate.sh.j2."""

CERTIFICATE_STATE: Final = "/var/lib/antmedia-certificate"

STATS_PATH: Final = "/haproxy_stats"
HEALTH_PATH: Final = "/rest/v2/liveness"
"""Ant Media Server's own, answered without a login."""

MEMORY_PER_CONNECTION_KIB: Final = 40
"""HAProxy takes 20 KiB for a WSS connection (measured on 2.6); as much again is left for the kernel's buffers."""

FILES_PER_CONNECTION: Final = 2
FILE_LIMIT: Final = 1_048_576
"""Linux's default fs.nr_open, the most that a service can be given. Fixed, since changing it restarts HAProxy."""

TCP_KEEPALIVE_SECONDS: Final = 120
"""AWS forgets an idle tracked connection after 350 s; probes keep it known."""


ACME_PATH: Final = "/.well-known/acme-challenge/"
"""RFC 8555, section 8.3."""

ACME_PORT: Final = 8888
"""Where certbot answers, on loopback, while it is asked."""


@dataclass(frozen=True)
class Listener:
    """A port that viewers are served on."""

    port: int
    tls: bool

    @property
    def origin(self) -> str:
        """As a client on the same host names it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Redirect:
    """A listener in clear HTTP that sends everybody to the HTTPS port `to`; with `acme`, all but validations."""

    name: str
    port: int
    to: int
    acme: bool = False

    @property
    def authority_suffix(self) -> str:
        """What follows the host's name in the new address."""
        return "" if self.to == firewall.HTTPS else f":{self.to}"


@dataclass(frozen=True)
class Server:
    """A media node in a pool. A backup takes traffic only when every other one is down."""

    name: str
    address: str
    port: int
    backup: bool = False


@dataclass(frozen=True)
class Pool:
    """Servers that can stand in for each other."""

    name: str
    servers: tuple[Server, ...]


@dataclass(frozen=True)
class LoadBalancer:
    """One haproxy.cfg. Times are in the units of their names."""

    max_connections: int
    connect_seconds: int
    request_seconds: int
    idle_seconds: int
    tunnel_minutes: int
    drain_minutes: int
    admin_cidrs: tuple[str, ...]
    first_app: str
    redirects: tuple[Redirect, ...]
    web_listeners: tuple[Listener, ...]
    acme: bool
    """Whether certificates are validated through this load balancer."""
    rtmp_port: int
    stats_port: int
    web: Pool
    streams: Pool
    rtmp: Pool

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Every pool, in the order of haproxy.cfg."""
        return (self.web, self.streams, self.rtmp)


def max_connections(memory_gib: int) -> int:
    """How many connections half of the memory carries, in whole thousands."""
    return min(
        memory_gib * 1024 * 1024 // 2 // MEMORY_PER_CONNECTION_KIB // 1000 * 1000,
        FILE_LIMIT // FILES_PER_CONNECTION // 1000 * 1000 - 1000,
    )


def load_balancer(plan: ClusterPlan) -> LoadBalancer:
    """Derive the load balancer from the plan."""
    settings = plan.settings.load_balancer
    timeouts = settings.timeouts
    acme = plan.orders_certificates

    def servers(nodes: tuple[Node, ...], port: int, *, backup: bool = False) -> tuple[Server, ...]:
        return tuple(Server(node.name, str(node.address), port, backup) for node in nodes)

    def origins_first(port: int) -> tuple[Server, ...]:
        return servers(plan.origins, port) + servers(plan.edges, port, backup=True)

    return LoadBalancer(
        max_connections=settings.max_connections or max_connections(INSTANCE_TYPES[settings.instance_type].memory_gib),
        connect_seconds=timeouts.connect_seconds,
        request_seconds=timeouts.request_seconds,
        idle_seconds=timeouts.idle_seconds,
        tunnel_minutes=timeouts.tunnel_minutes,
        drain_minutes=timeouts.drain_minutes,
        admin_cidrs=plan.settings.admin_cidrs,
        first_app=plan.first_app,
        redirects=(
            Redirect("http", firewall.HTTP, to=firewall.HTTPS, acme=acme),
            Redirect("ams-http", firewall.AMS_HTTP, to=firewall.AMS_HTTPS),
        )
        if plan.serves_tls
        else (),
        web_listeners=tuple(
            Listener(port, plan.serves_tls)
            for port in (
                (firewall.HTTPS, firewall.AMS_HTTPS) if plan.serves_tls else (firewall.HTTP, firewall.AMS_HTTP)
            )
        ),
        acme=acme,
        rtmp_port=firewall.RTMP,
        stats_port=firewall.STATS,
        web=Pool("web", servers(plan.media, firewall.AMS_HTTP)),
        # A stream is on the node that it was published to, so playing asks where publishing goes.
        streams=Pool("streams", origins_first(firewall.AMS_HTTP)),
        rtmp=Pool("rtmp", origins_first(firewall.RTMP)),
    )
