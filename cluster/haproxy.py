"""The load balancer as data: listeners, pools, servers, limits, timeouts. Knows nothing of AWS.

Facts behind the values are in docs/decisions/haproxy.md.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cluster import capacity, firewall
from cluster.plan import ClusterPlan, Node
from cluster.settings import ClearHttp, TlsMode

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

CURVES: Final = ("X25519MLKEM768", "X25519", "prime256v1", "secp384r1")
"""The same profile's; the first one, which quantum computers would not break, needs OpenSSL 3.5 (Debian 13 has it)."""

_LOGGED: Final = {
    "client": "%ci:%cp",
    "listener": "%ft:%fp",
    "protocol": "%HV",
    "media": "%[var(txn.media)]",
    "method": "%HM",
    "path": "%HPO",
    "status": "%ST",
    "pool": "%b",
    "node": "%s",
    "wait_ms": "%Tw",
    "connect_ms": "%Tc",
    "response_ms": "%Tr",
    "total_ms": "%Tt",
    "bytes_in": "%U",
    "bytes_out": "%B",
    "end": "%ts",
    "connections": "%ac/%bc/%sc",
    "retries": "%rc",
}
LOG_FORMAT: Final = " ".join(f"{name}={value}" for name, value in _LOGGED.items())
"""One line for each request, or for each connection that is no HTTP: `media` is then rtmp or rtmps, and HAProxy says
BADREQ where protocol, method and path would be. For a WebSocket `media` is websocket."""

ADMIN_SOCKET: Final = "/run/haproxy/admin.sock"
MASTER_SOCKET: Final = "/run/haproxy-master.sock"
PUT: Final = "/usr/local/sbin/antmedia-haproxy-put"
"""Replaces one of HAProxy's files and has it used: templates/haproxy/put.sh.j2."""

NODE: Final = "/usr/local/sbin/antmedia-node"
"""Takes a media node out, and back: templates/haproxy/node.py."""

LOCK: Final = "/run/lock/antmedia-haproxy.lock"
"""Held by both while they change something."""

CERTIFICATE_PROGRAM: Final = "/usr/local/sbin/antmedia-certificate"
"""Gets and renews the certificate: templates/certbot/certificate.sh.j2."""

CERTIFICATE_STATE: Final = "/var/lib/antmedia-certificate"

HEALTH_POOL: Final = "nodes"
"""The pool with every media node and the health checks that all pools go by."""

RTMP_POOL: Final = "rtmp"
"""For RTMP and RTMPS."""

STATS_PATH: Final = "/haproxy_stats"
HEALTH_PATH: Final = "/rest/v2/liveness"
"""Ant Media Server's own, answered without a login."""

TCP_KEEPALIVE_SECONDS: Final = 120
"""AWS forgets an idle tracked connection after 350 s; probes keep it known."""

DEAD_PEER_SECONDS: Final = 30
"""A node that acknowledges nothing for so long has gone without saying so; its streams end and are sent anew."""

MAX_RELOADS: Final = 120
"""An old worker that still carries a stream after so many further reloads is ended."""

HSTS_SECONDS: Final = 63072000
"""Two years: Mozilla's intermediate profile."""

RETRY_AFTER_SECONDS: Final = 5

ACME_PATH: Final = "/.well-known/acme-challenge/"
"""RFC 8555, section 8.3."""

ACME_PORT: Final = 8888
"""Where certbot answers, on loopback, while it is asked."""

METRICS_PORT: Final = 8404
"""Prometheus's format, on loopback only."""

TARGET_COOKIE: Final = "antmedia-target"
"""Remembers the `target` that a player asked a playlist with, for its segments."""

TLS_SOCKET: Final = "abns@antmedia-tls"
"""Leads from the port that takes clear HTTP and TLS to the listener for TLS, inside HAProxy."""


@dataclass(frozen=True)
class Server:
    """A media node in a pool. A backup takes traffic only when every other one is down."""

    name: str
    address: str
    port: int
    backup: bool = False


class Balance(enum.StrEnum):
    """How a pool's server is chosen."""

    LEAST_CONNECTIONS = "leastconn"
    RESOURCE = "hash path,field(4,/)"
    """By the stream's id in /APP/whip/STREAM: every request about one WebRTC session reaches one node."""


@dataclass(frozen=True)
class Pool:
    """Servers that can stand in for each other."""

    name: str
    servers: tuple[Server, ...]
    balance: Balance = Balance.LEAST_CONNECTIONS
    sticky: bool = False
    """Whether a viewer's or administrator's AMS session stays on its node."""

    def __post_init__(self) -> None:
        for what in ("name", "address"):
            held = [getattr(server, what) for server in self.servers]
            if twice := {value for value in held if held.count(value) > 1}:
                raise ValueError(f"pool {self.name} has the {what} {', '.join(sorted(twice))} twice")


@dataclass(frozen=True)
class Route:
    """Requests that fulfil every condition (HAProxy's, by name) go to a pool; the first route that fits is taken."""

    conditions: tuple[str, ...]
    pool: str


@dataclass(frozen=True)
class Limits:
    """What one client address may do at most; rates are counted over 10 seconds."""

    connections: int
    new_connections: int
    requests: int


@dataclass(frozen=True)
class Check:
    """A listener as somebody on the load balancer's own host meets it."""

    port: int
    tls: bool
    path: str
    answer: str
    """Status and, after a space, where to."""

    @property
    def url(self) -> str:
        """On loopback."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{self.path}"


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
    apps: tuple[str, ...]
    publish_name: str | None
    play_name: str | None
    clear: ClearHttp
    hsts: bool
    acme: bool
    """Whether certificates are validated through this load balancer."""
    limits: Limits | None
    http_port: int
    ams_http_port: int
    tls_ports: tuple[int, ...]
    """HTTPS, WSS and RTMPS on the same ports; none without TLS."""
    rtmp_port: int
    rtmps_port: int | None
    stats_port: int
    nodes: Pool
    """Every media node: the only pool with health checks of its own."""
    pools: tuple[Pool, ...]
    """HTTP pools besides `nodes`."""
    rtmp: Pool
    routes: tuple[Route, ...]
    default_pool: str

    def __post_init__(self) -> None:
        if twice := {port for port in self.ports if self.ports.count(port) > 1}:
            raise ValueError(f"two listeners on port {', '.join(map(str, sorted(twice)))}")
        known = {pool.name for pool in (self.nodes, *self.pools)}
        for pool in (*(route.pool for route in self.routes), self.default_pool):
            if pool not in known:
                raise ValueError(f"a route leads to the pool {pool}, which does not exist")

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that something outside can reach."""
        more = (self.rtmps_port,) if self.rtmps_port else ()
        return (self.http_port, self.ams_http_port, *self.tls_ports, self.rtmp_port, *more, self.stats_port)

    @property
    def rtmps_ports(self) -> tuple[int, ...]:
        """Every port that takes RTMPS."""
        return (*self.tls_ports, self.rtmps_port) if self.rtmps_port else ()

    @property
    def every_tls_port(self) -> tuple[int, ...]:
        """Every port that shows the certificate."""
        return (*self.rtmps_ports, self.ams_http_port, self.stats_port) if self.tls_ports else (self.stats_port,)

    @property
    def first_app(self) -> str:
        """Where viewers are sent."""
        return self.apps[0]

    @property
    def reserve(self) -> int:
        """Connections beside those of media."""
        return capacity.RESERVE

    def location(self, port: int) -> str:
        """What follows a host's name in an address at this TLS port."""
        return "" if port == firewall.HTTPS else f":{port}"

    @property
    def tls_port_of(self) -> Mapping[int, int]:
        """Where each port in the clear redirects to."""
        return dict(zip((self.http_port, self.ams_http_port), self.tls_ports, strict=True)) if self.tls_ports else {}

    @property
    def checks(self) -> Iterator[Check]:
        """What every listener for HTTP must answer when all is well."""
        for port in (self.http_port, self.ams_http_port):
            if self.clear is ClearHttp.REDIRECT:
                suffix = self.location(self.tls_port_of[port])
                yield Check(port, False, "/x", f"301 https://load-balancer{suffix}/x")
            else:
                yield Check(port, False, "/", f"302 http://127.0.0.1:{port}/{self.first_app}/")
        if self.tls_ports:
            for port in (*self.tls_ports, self.ams_http_port):
                yield Check(port, True, "/", f"302 https://127.0.0.1:{port}/{self.first_app}/")
        yield Check(self.stats_port, True, STATS_PATH, "401 ")


def load_balancer(plan: ClusterPlan) -> LoadBalancer:
    """Derive the load balancer from the plan."""
    settings = plan.settings.load_balancer
    timeouts, limits, tls = settings.timeouts, settings.limits, plan.settings.tls.mode
    serve = settings.clear_http is ClearHttp.SERVE or not plan.serves_tls

    def servers(
        first: tuple[Node, ...], then: tuple[Node, ...] = (), port: int = firewall.AMS_HTTP
    ) -> tuple[Server, ...]:
        return tuple(
            Server(node.name, str(node.address), port, backup=bool(first) and nodes is then)
            for nodes in (first, then)
            for node in nodes
        )

    by_role = {"origins": servers(plan.origins, plan.edges), "edges": servers(plan.edges, plan.origins)}
    figures = plan.settings.figures(settings.instance_type)
    assert figures, "settings whose type has no figures are refused"
    return LoadBalancer(
        max_connections=settings.max_connections or capacity.max_connections(figures.memory_gib),
        connect_seconds=timeouts.connect_seconds,
        request_seconds=timeouts.request_seconds,
        idle_seconds=timeouts.idle_seconds,
        tunnel_minutes=timeouts.tunnel_minutes,
        drain_minutes=timeouts.drain_minutes,
        admin_cidrs=plan.settings.admin_cidrs,
        apps=plan.settings.media.apps,
        publish_name=settings.publish_name,
        play_name=settings.play_name,
        clear=ClearHttp.SERVE if serve else ClearHttp.REDIRECT,
        hsts=tls in (TlsMode.LETSENCRYPT, TlsMode.PROVIDED) and not serve,
        acme=plan.orders_certificates,
        limits=Limits(limits.connections, limits.new_connections_per_second * 10, limits.requests_per_second * 10)
        if limits
        else None,
        http_port=firewall.HTTP,
        ams_http_port=firewall.AMS_HTTP,
        tls_ports=(firewall.HTTPS, firewall.AMS_HTTPS) if plan.serves_tls else (),
        rtmp_port=firewall.RTMP,
        rtmps_port=firewall.RTMPS if plan.serves_tls else None,
        stats_port=firewall.STATS,
        nodes=Pool(HEALTH_POOL, servers(plan.media), sticky=settings.stickiness),
        pools=(
            *(Pool(name, held, sticky=settings.stickiness) for name, held in by_role.items()),
            Pool("whip", by_role["origins"], Balance.RESOURCE),
            Pool("whep", by_role["edges"], Balance.RESOURCE),
        ),
        rtmp=Pool(RTMP_POOL, servers(plan.origins, plan.edges, firewall.RTMP)),
        routes=tuple(_routes(settings.publish_name, settings.play_name, clustered=plan.forms_cluster)),
        default_pool=HEALTH_POOL,
    )


def _routes(publish_name: str | None, play_name: str | None, *, clustered: bool) -> Iterator[Route]:
    # A stream is on the node that it was published to, unless the nodes are a cluster.
    home, other = ("edges", "origins") if clustered else ("origins", "edges")
    # Nearly every request: decided first.
    yield Route(("stream", "reading", "!with_wish"), home)
    yield Route(("to_origin",), "origins")
    yield Route(("to_edge",), "edges")
    yield Route(("stream", "reading", f"from_{other}"), other)
    yield Route(("stream", "reading"), home)
    yield Route(("whip",), "whip")
    yield Route(("whep",), "whep")
    # Users, settings and streams are kept by origins; the dashboard is all that is no application.
    yield Route(("rest",), "origins")
    yield Route(("!application",), "origins")
    if publish_name:
        yield Route(("to_publish",), "origins")
    if play_name:
        yield Route(("to_play",), "edges")
    # By either kind of node one can publish and play, but an edge would fetch what is published to an origin.
    yield Route(("websocket",), "origins")
