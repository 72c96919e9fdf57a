"""The only description of the configuration: every key of `antmedia:`, its default, its limits, its messages.

`load` turns the values of a stack file into frozen `Settings`, or raises one `SettingsError` that lists every mistake.
The docstring under a key is its sentence in docs/settings.md and in stacks/schema.json, which `make docs` writes.
"""

from __future__ import annotations

import bisect
import difflib
import enum
import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, TypeAdapter, ValidationError, WithJsonSchema

from cluster import addressing, capacity, certificates, keys, mistakes, package_sources
from cluster.instance_types import INSTANCE_TYPES, MEDIA_MINIMUM
from cluster.instance_types import InstanceType as Figures
from cluster.mistakes import NAMESPACE as NAMESPACE
from cluster.mistakes import SECRET, Filled, Guide, Matches, NearMissError, Section, missing
from cluster.mistakes import Mistake as Mistake
from cluster.mistakes import SettingsError as SettingsError


def _network(text: str, fault: Callable[[ipaddress.IPv4Network], str | None], prefix: int) -> str:
    """An IPv4 network in which `fault` finds none; an address alone may have meant a network of that prefix length."""
    try:
        held = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not a network") from None
    if isinstance(held, ipaddress.IPv6Network):
        raise NearMissError("give an IPv4 network: there is no IPv6 yet")
    alone = ipaddress.IPv4Network(f"{text.partition('/')[0]}/{prefix}", strict=False)
    if str(held) != text and (good := [str(near) for near in _each(held, alone, text) if not fault(near)]):
        raise NearMissError(f"did you mean {' or '.join(good)}?")
    if found := fault(held):
        raise NearMissError(found)
    return text


def _each(held: ipaddress.IPv4Network, alone: ipaddress.IPv4Network, text: str) -> list[ipaddress.IPv4Network]:
    return list(dict.fromkeys([held, alone])) if "/" in text else [alone]


def _vpc_cidr(text: str) -> str:
    widest, narrowest = addressing.VPC_PREFIX_LENGTHS

    def fault(network: ipaddress.IPv4Network) -> str | None:
        if not _private(network):
            return "choose one within 10.0.0.0/8, 172.16.0.0/12 (172.16 to 172.31) or 192.168.0.0/16"
        if network.prefixlen < widest:
            return f"choose a /{widest} or a smaller one: AWS makes no larger VPC"
        if network.prefixlen > narrowest:
            return f"choose a /{narrowest} or a larger one: every zone takes a /{addressing.SUBNET_PREFIX_LENGTH} of it"
        return None

    return _network(text, fault, widest)


def _admin_cidr(text: str) -> str:
    def fault(network: ipaddress.IPv4Network) -> str | None:
        if network.prefixlen < ADMIN_SHORTEST_PREFIX:
            return "name the addresses that administer the cluster; the whole internet (0.0.0.0/0) is refused"
        return None

    return _network(text, fault, 32)


def _flow_log_days(days: int) -> int:
    if days in FLOW_LOG_DAYS:
        return days
    if days == 0:
        raise NearMissError(
            "write false for no flow logs; they cannot be kept for ever, which 0 means to CloudWatch Logs: the longest "
            f"is {FLOW_LOG_DAYS[-1]}"
        )
    at = bisect.bisect(FLOW_LOG_DAYS, days)
    raise NearMissError(f"did you mean {' or '.join(map(str, FLOW_LOG_DAYS[max(0, at - 1) : at + 1]))}?")


def _private(network: ipaddress.IPv4Network) -> bool:
    return any(network.subnet_of(block) for block in addressing.PRIVATE_BLOCKS)


# Names of hosts: RFC 1123, section 2.1; at least two labels, the last one not a number; in small letters.
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = rf"(?=.{{1,253}}$)({_LABEL}\.)+(?!\d+$){_LABEL}"


def _domain(text: str) -> str:
    if re.fullmatch(_DOMAIN, text):
        return text
    if text.startswith("*."):
        raise NearMissError("name each host by itself: a name with * is nobody's address")
    name = re.sub(r"^[a-z]+://|[/:?#].*$", "", text.strip().lower()).rstrip(".")
    try:
        name = name.encode("idna").decode()
    except UnicodeError:
        raise ValueError("not a domain") from None
    if re.fullmatch(_DOMAIN, name):
        raise NearMissError(f"did you mean {name}?")
    raise ValueError("not a domain")


def _private_key(secret: SecretStr) -> SecretStr:
    # A value read from standard input loses its last newline, without which sshd refuses a host key.
    text = secret.get_secret_value().strip() + "\n"
    keys.public_key(text)
    return SecretStr(text)


def _password(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{12,128}", secret.get_secret_value()):
        raise ValueError("too weak")
    return secret


def _license_key(secret: SecretStr | None) -> SecretStr | None:
    text = secret.get_secret_value().strip() if secret else ""
    if secret and not re.fullmatch(r"[\x21-\x7e]{1,200}", text):
        raise ValueError("not a key")
    return SecretStr(text) if secret else None


def _uri_password(secret: SecretStr | None) -> SecretStr | None:
    # Only what stands in a URI as it is: the URI passes through Ant Media Server's own scripts and settings.
    if secret and not re.fullmatch(r"[A-Za-z0-9._~-]{12,128}", secret.get_secret_value()):
        raise ValueError("too weak, or not fit for a URI")
    return secret


def _mongodb_uri(secret: SecretStr | None) -> SecretStr | None:
    if secret and not MONGODB_URI.fullmatch(secret.get_secret_value()):
        raise ValueError("no URI with a login")
    return secret


def _armored_key(text: str) -> str:
    begin, end = (f"-----{edge} PGP PUBLIC KEY BLOCK-----" for edge in ("BEGIN", "END"))
    lines = text.strip().splitlines()
    if lines[:1] != [begin] or lines[-1] != end or not all(re.fullmatch(r"[\x20-\x7e]*", line) for line in lines):
        raise ValueError("not a key")
    return "\n".join(lines) + "\n"


_TYPE_NAME: Final = r"[a-z0-9-]{2,20}\.[a-z0-9-]{4,20}"


def _instance_type(name: str) -> str:
    # AWS's naming: after the generation's number, g is for Graviton; a1 came before that rule.
    if re.match(r"[a-z]+\d+g[a-z]*\.|a1\.", name):
        raise NearMissError(f"choose an x86-64 type, which the images are made for: {name} is an Arm one")
    if not re.fullmatch(_TYPE_NAME, name):
        if near := _near_type(name):
            raise NearMissError(f"did you mean {near}?")
        raise ValueError("not a type")
    return name


def _near_type(name: str) -> str | None:
    return next(iter(difflib.get_close_matches(name.lower(), INSTANCE_TYPES, n=1, cutoff=0.8)), None)


_EMAIL: Final = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]+"
_CIDR: Final = WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}([.][0-9]{1,3}){3}/[0-9]{1,2}$"})
"""As much as an editor can tell."""

_HOSTS: Final = r"(?P<hosts>[A-Za-z0-9.-]+(:\d+)?(,[A-Za-z0-9.-]+(:\d+)?)*)"
MONGODB_URI: Final = re.compile(
    rf"mongodb(?P<srv>\+srv)?://[^\s:@/?#'\"\\]+:[^\s:@/?#'\"\\]+@{_HOSTS}(/[^\s/?#'\"\\]*(\?[^\s#'\"\\]*)?)?"
)
"""A connection string with user and password, which MongoDB's drivers want percent-encoded."""

ADMIN_SHORTEST_PREFIX: Final = 8
"""The widest block of administrators' addresses that is let in: a whole organisation's, never the internet."""

FLOW_LOG_DAYS: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
"""What CloudWatch Logs takes. Source: its API reference, PutRetentionPolicy."""

_AMI_ID: Final = r"ami-([0-9a-f]{8}|[0-9a-f]{17})"

_TYPES: Final = ", ".join(sorted(INSTANCE_TYPES))
DEBIAN_AMI: Final = "debian-13-amd64-20251117-2299"

InstanceType = Annotated[
    str,
    AfterValidator(_instance_type),
    WithJsonSchema({"type": "string", "pattern": f"^{_TYPE_NAME}$"}),
    Guide(
        "an EC2 instance type that the program knows, such as t3.small or c6i.xlarge, or one of instanceTypes",
        "choose one of cluster/instance_types.py, or give the figures of another one under instanceTypes",
    ),
]
DebianAmi = Annotated[
    str,
    Matches(rf"{_AMI_ID}|debian-13-amd64-\d{{8}}-\d+"),
    Guide(
        "the id of a Debian 13 image (ami-…) or the exact name of one of Debian's own, "
        "such as debian-13-amd64-20251117-2299",
        "find the newest with: aws ec2 describe-images --owners 136693071363 "
        "--filters 'Name=name,Values=debian-13-amd64-*' "
        "--query 'sort_by(Images,&CreationDate)[-1].Name'",
    ),
]
VolumeGb = Annotated[int, Field(ge=8, le=16384), Guide(unit="GiB")]
NodeCount = Annotated[
    int,
    Field(ge=1, le=addressing.MAX_NODES_PER_ROLE),
    Guide(
        remedy="choose how many: a cluster has at least one origin and one edge; a single node is edition community",
        unit="nodes",
    ),
]
PrivateKey = Annotated[
    SecretStr,
    AfterValidator(_private_key),
    Guide(
        "an unencrypted ed25519 private key in OpenSSH format, as a secret",
        "let `make new-stack STACK=…` make it; remove a wrong one first",
    ),
]
Password = Annotated[
    SecretStr,
    AfterValidator(_password),
    Guide(
        "12 to 128 printable ASCII characters without spaces, as a secret",
        "let `make new-stack STACK=…` make it; remove a wrong one first",
    ),
]
LoginName = Annotated[
    str,
    Matches(r"[a-z][a-z0-9_-]{0,31}"),
    Guide("a login name: small letters, digits, - and _, at most 32, a letter first", "leave the key out"),
]


class TlsMode(enum.StrEnum):
    """Where the certificate comes from."""

    LETSENCRYPT = "letsencrypt"
    PROVIDED = "provided"
    SELF_SIGNED = "self-signed"
    NONE = "none"


DomainName = Annotated[
    str,
    AfterValidator(_domain),
    WithJsonSchema({"type": "string", "pattern": f"^{_DOMAIN}$"}),
    Guide(
        "a domain name of small letters, digits and hyphens, such as live.example.com",
        "give the name that viewers will use, without https:// and without a port",
    ),
]
_PEM_REMEDY = "set it with: tools/pulumi config set --secret --path 'antmedia:tls.{}' -s STACK <FILE.pem"


class Tls(Section):
    """How the public names get their certificate."""

    mode: Annotated[TlsMode, Field(strict=False)] = TlsMode.LETSENCRYPT
    """`letsencrypt` fetches and renews a certificate; `provided` takes yours; `self-signed` makes browsers warn; `none`
    serves in the clear."""
    email: Annotated[
        Annotated[str, Matches(_EMAIL)] | None,
        Guide("an e-mail address, or nothing", "give the address that the certificate authority may write to"),
    ] = None
    """Where the certificate authority may write to."""
    extra_names: Annotated[
        tuple[DomainName, ...],
        Field(max_length=20, strict=False),
        Guide("a list of at most 20 further domain names for the certificate", "write them as a list"),
    ] = ()
    """Further names that the cluster is reached by: the certificate has them, and so has `dns.zone`."""
    acme_directory: Annotated[
        str,
        Matches(r"https://[a-z0-9.-]+(:\d+)?/[A-Za-z0-9._~/%-]*"),
        Guide(
            "the https:// address of an ACME directory",
            "leave the key out for Let's Encrypt; its staging directory is "
            "https://acme-staging-v02.api.letsencrypt.org/directory",
        ),
    ] = "https://acme-v02.api.letsencrypt.org/directory"
    """The certificate authority that `letsencrypt` asks."""
    chain: Annotated[
        SecretStr | None,
        Guide("the certificate and its issuers in PEM format, as a secret", _PEM_REMEDY.format("chain")),
    ] = None
    """Your certificate with `provided`, the server's own first."""
    key: Annotated[
        SecretStr | None,
        Guide("the certificate's unencrypted private key in PEM format, as a secret", _PEM_REMEDY.format("key")),
    ] = None
    """The private key of your certificate with `provided`."""


class Dns(Section):
    """Names in Route 53."""

    zone: Annotated[
        DomainName | None,
        Guide(
            "the name of a public Route 53 zone of this AWS account, such as example.com",
            "give the zone's name, not its id; or leave the key out and set the records yourself",
        ),
    ] = None
    """The zone in which the program keeps an A record for every public name; left out, the output `dnsRecordToSet` says
    which to set."""


class Network(Section):
    """The VPC."""

    cidr: Annotated[
        str,
        AfterValidator(_vpc_cidr),
        _CIDR,
        Guide(
            "a private IPv4 network in CIDR notation from /16 to /20, without host bits, such as 172.30.0.0/16",
            "write a network's first address, a slash and its length",
        ),
    ] = "172.30.0.0/16"
    """The VPC's addresses; every zone gets a /24 of them."""
    zones: Annotated[
        int,
        Field(ge=1, le=addressing.MAX_ZONES),
        Guide(
            remedy="choose how many zones to spread over; no region has more than 6, most have 3",
            unit="availability zones",
        ),
    ] = 2
    """How many availability zones the nodes are spread over; changing it later replaces nodes."""
    flow_log_days: Annotated[
        Annotated[int, AfterValidator(_flow_log_days)] | None,
        Filled(off=False, remedy="write a number of days or false, or remove the line"),
        WithJsonSchema({"enum": [*FLOW_LOG_DAYS, False]}),
        Guide(
            f"one of CloudWatch Logs' own numbers of days ({', '.join(map(str, FLOW_LOG_DAYS))}), or false for no flow "
            "logs",
            "choose one of these numbers, or leave the key out for the default",
            unit="days",
        ),
    ] = 365
    """How long the VPC's flow logs, who spoke to whom, are kept in CloudWatch Logs; `false` makes none."""


class Edition(enum.StrEnum):
    """Which Ant Media Server the image has."""

    ENTERPRISE = "enterprise"
    COMMUNITY = "community"


class MediaGroup(Section):
    """Media nodes of one role."""

    count: NodeCount = 1
    """How many there are."""
    instance_type: InstanceType = "c6i.xlarge"
    """Their EC2 instance type; another one replaces them, in turn."""
    volume_gb: VolumeGb = 30
    """The size of each node's disk."""


class MaxUnavailable(Section):
    """How many nodes of a role may be away at once while all of them are replaced."""

    origins: Annotated[int, Field(ge=1, le=addressing.MAX_NODES_PER_ROLE), Guide(unit="origins")] = 1
    """Origins replaced at a time; publishers have only the others meanwhile."""
    edges: Annotated[int | None, Field(ge=1, le=addressing.MAX_NODES_PER_ROLE), Guide(unit="edges")] = None
    """Edges replaced at a time; left out, a quarter of them."""


class Media(Section):
    """The Ant Media Server nodes."""

    edition: Annotated[Edition, Field(strict=False)] = Edition.ENTERPRISE
    """Enterprise has WebRTC at scale and can be a cluster; Community is one node, an origin without edges."""
    ami: Annotated[
        str,
        Matches(rf"{_AMI_ID}|AntMedia-[A-Za-z0-9()._/-]{{1,120}}"),
        Guide(
            "the id of an Ant Media Server image in the stack's region (ami- and 8 or 17 hexadecimal digits), or the "
            "exact name of one of Ant Media's own, which begins with AntMedia-",
            "find it with: aws ec2 describe-images --owners 679593333241 "
            "--filters 'Name=name,Values=AntMedia-AWS-Marketplace-EE-*' "
            "--query 'sort_by(Images,&CreationDate)[-1].[ImageId,Name]'",
        ),
    ]
    """The image that every media node starts from; another one replaces them, in turn."""
    origins: MediaGroup = MediaGroup()
    """The nodes that take streams."""
    allow_below_minimum: bool = False
    """Lets nodes be smaller than Ant Media Server asks for."""
    edges: MediaGroup = MediaGroup()
    """The nodes that play streams, and stand in for origins."""
    apps: Annotated[
        tuple[Annotated[str, Matches(r"(?!rest$)[A-Za-z][A-Za-z0-9_-]{0,62}")], ...],
        Field(min_length=1, max_length=50, strict=False),
        Guide(
            "a list of names of applications: letters, digits, - and _, a letter first; not rest, which is Ant Media "
            "Server's own",
            "list at least one application that the image has, such as LiveApp",
        ),
    ] = ("LiveApp",)
    """The applications that viewers may use; they are sent to the first one."""
    drain_minutes: Annotated[int, Field(ge=1, le=1440), Guide(unit="minutes")] = 30
    """How long a node that is to go waits for its viewers and publishers to end; then they are cut."""
    max_unavailable: MaxUnavailable = MaxUnavailable()

    @property
    def edge_group(self) -> MediaGroup | None:
        """The edges that are to exist; None where there are none."""
        return None if self.edition is Edition.COMMUNITY else self.edges


class Timeouts(Section):
    """How long HAProxy waits, and for what."""

    connect_seconds: Annotated[int, Field(ge=1, le=60), Guide(unit="seconds")] = 5
    """How long a node may take to accept a connection."""
    request_seconds: Annotated[int, Field(ge=1, le=60), Guide(unit="seconds")] = 10
    """How long a client may take to send the head of its request."""
    idle_seconds: Annotated[int, Field(ge=10, le=3600), Guide(unit="seconds")] = 60
    """HTTP: without a byte for so long, a request ends."""
    tunnel_minutes: Annotated[int, Field(ge=1, le=1440), Guide(unit="minutes")] = 120
    """WebSocket and RTMP: silent for so long, a connection ends."""
    drain_minutes: Annotated[int, Field(ge=1, le=1440), Guide(unit="minutes")] = 720
    """After a reload, how long old connections may go on."""


class ClearHttp(enum.StrEnum):
    """What HTTP without TLS is answered with, where there is TLS."""

    REDIRECT = "redirect"
    SERVE = "serve"


class Limits(Section):
    """What one client address may do. Many viewers may share one: an office, a mobile network."""

    connections: Annotated[int, Field(ge=10, le=1_000_000), Guide(unit="connections")] = 2000
    """Connections of one address at the same time."""
    new_connections_per_second: Annotated[int, Field(ge=1, le=100_000), Guide(unit="connections per second")] = 200
    """New connections of one address, over 10 seconds."""
    requests_per_second: Annotated[int, Field(ge=1, le=100_000), Guide(unit="requests per second")] = 500
    """Requests of one address, over 10 seconds."""


class LoadBalancer(Section):
    """The HAProxy instance."""

    count: Annotated[
        int,
        Field(ge=1, le=1),
        Guide(
            "1: more than one load balancer is not possible yet",
            "leave the key out; a larger instanceType carries more connections",
            unit="hosts",
        ),
    ] = 1
    """How many load balancers there are."""
    ami: DebianAmi = DEBIAN_AMI
    """The image that it starts from."""
    instance_type: InstanceType = "c6i.large"
    """Its EC2 instance type: the memory bounds the connections."""
    volume_gb: VolumeGb = 20
    """The size of its disk."""
    max_connections: Annotated[
        int | None,
        Field(ge=1000, le=1_000_000),
        Guide(
            "a whole number of connections from 1000 to 1000000, or nothing: then it is derived from the instance's "
            "memory",
            "leave the key out",
            unit="connections",
        ),
    ] = None
    """How many connections of viewers and publishers it carries at once; further ones wait."""
    clear_http: Annotated[ClearHttp, Field(strict=False)] = ClearHttp.REDIRECT
    """`redirect` sends everybody to HTTPS; `serve` is for players that cannot do TLS."""
    stickiness: bool = True
    """Keeps a viewer's or an administrator's session on its node: without it logins and HLS viewer counts go wrong."""
    limits: Annotated[
        Limits | None,
        Filled(off=False),
        Guide("false for no limits", "indent these keys under limits, or write limits: false"),
    ] = Limits()
    """What one client address may do, administrators' excepted. Many viewers may share one: an office, a mobile
    network."""
    publish_name: Annotated[
        DomainName | None, Guide("a domain name of its own for publishers, or nothing", "leave the key out")
    ] = None
    """A name that leads publishers to origins."""
    play_name: Annotated[
        DomainName | None, Guide("a domain name of its own for players, or nothing", "leave the key out")
    ] = None
    """A name that leads players to edges."""
    timeouts: Timeouts = Timeouts()


class DatabaseMode(enum.StrEnum):
    """Whose the database is."""

    MANAGED = "managed"
    EXTERNAL = "external"
    NONE = "none"


class OnDestroy(enum.StrEnum):
    """What becomes of the database's volume when the stack is destroyed."""

    REFUSE = "refuse"
    SNAPSHOT = "snapshot"
    DELETE = "delete"


class PackageSource(Section):
    """A Debian repository that has MongoDB's packages, and the key that signs it."""

    url: Annotated[
        str,
        Matches(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~/-]*)?"),
        Guide("the http:// or https:// address of a Debian repository", "leave packageSource out for MongoDB's own"),
    ] = package_sources.MONGODB_URL
    """The repository's address."""
    suite: Annotated[
        str,
        Matches(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*"),
        Guide("the name of a suite of that repository, such as trixie/mongodb-org/8.0", "leave the key out"),
    ] = package_sources.MONGODB_SUITE
    """The suite within it: it decides MongoDB's major version."""
    component: Annotated[
        str,
        Matches(r"[A-Za-z0-9._-]+"),
        Guide("the name of a component of that suite, such as main", "leave the key out"),
    ] = package_sources.MONGODB_COMPONENT
    """The component of the suite."""
    packages: Annotated[
        tuple[Annotated[str, Matches(r"[a-z0-9][a-z0-9+.-]+")], ...],
        Field(min_length=1, max_length=20, strict=False),
        Guide(
            "a list of 1 to 20 packages that bring mongod.service, mongodump and mongorestore",
            "leave the key out for mongodb-org-server and mongodb-database-tools",
        ),
    ] = package_sources.MONGODB_PACKAGES
    """The packages to install."""
    key: Annotated[
        str,
        AfterValidator(_armored_key),
        Guide(
            "the repository's public key, from -----BEGIN PGP PUBLIC KEY BLOCK----- to its end",
            "give the key as a block of text (key: |), or leave it out for MongoDB's own",
        ),
    ] = package_sources.MONGODB_KEY
    """The key that must have signed the repository."""


class Backup(Section):
    """A dump of the whole database, every day, into a bucket of yours."""

    bucket: Annotated[
        str,
        Matches(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"),
        Guide(
            "the name of an S3 bucket that exists, in the stack's region, without dots",
            "make a bucket that keeps what is deleted (versioning), and name it here",
        ),
    ]
    """The S3 bucket that the dumps go to."""
    hour: Annotated[
        int,
        Field(ge=0, le=23),
        Guide("a whole number from 0 to 23: the hour of the day, in UTC", "write the hour alone: 3", unit="hours, UTC"),
    ] = 3
    """The hour of the day at which the dump is made."""


class Database(Section):
    """The MongoDB database that makes a cluster of the media nodes."""

    mode: Annotated[DatabaseMode, Field(strict=False)] = DatabaseMode.MANAGED
    """`managed` makes a host with MongoDB; `external` uses the one that `databaseLogin.uri` names; with `none` the
    nodes know nothing of each other."""
    members: Annotated[
        int,
        Field(ge=1, le=1),
        Guide(
            "1: a managed database is one host; one that survives the loss of a host is not possible yet",
            "leave the key out, or bring a database of several hosts by database.mode external",
            unit="hosts",
        ),
    ] = 1
    """How many hosts hold a managed database."""
    ami: DebianAmi = DEBIAN_AMI
    """The image that its host starts from."""
    instance_type: InstanceType = "t3.medium"
    """Its EC2 instance type."""
    volume_gb: VolumeGb = 20
    """The size of the volume that holds the data; it can grow, never shrink."""
    package_source: PackageSource = PackageSource()
    on_destroy: Annotated[OnDestroy, Field(strict=False)] = OnDestroy.REFUSE
    """`refuse` lets nobody destroy the data with the stack by mistake; `snapshot` keeps a snapshot of the volume;
    `delete` keeps nothing."""
    backup: Annotated[Backup | None, Filled()] = None


class DatabaseLogin(Section):
    """How the media nodes log in to the database.

    A group of its own, as `stats` is: the engine calls a whole group secret when one of its keys is.
    """

    user: LoginName = "antmedia"
    """The account in a managed database."""
    password: Annotated[
        SecretStr | None,
        AfterValidator(_uri_password),
        Guide(
            "12 to 128 letters, digits and the characters - . _ ~ as a secret",
            "make one with: openssl rand -hex 16 | "
            "tools/pulumi config set --secret --path 'antmedia:databaseLogin.password' -s STACK",
        ),
    ] = None
    """The account's password."""
    uri: Annotated[
        SecretStr | None,
        AfterValidator(_mongodb_uri),
        Guide(
            "mongodb://USER:PASSWORD@HOST/… or mongodb+srv://USER:PASSWORD@HOST/…, as a secret: given a bare address, "
            "Ant Media Server stays alone without saying so, and a database without a login is anybody's",
            "set it with: tools/pulumi config set --secret --path 'antmedia:databaseLogin.uri' -s STACK; signs such as "
            "@ and / in the password are written %40 and %2F",
        ),
    ] = None
    """The address of an external database, with its login."""


class Ssh(Section):
    """The two ed25519 key pairs of a stack: who logs in, and what every host shows of itself."""

    private_key: PrivateKey
    """The key that deployments and administrators log in to hosts with."""
    previous_private_key: Annotated[
        PrivateKey | None,
        Guide(
            "the private key before this one, as a secret, while it is being replaced; otherwise nothing",
            "set it to what privateKey was, run an update, then remove it and run another",
        ),
    ] = None
    """What hosts still take while `privateKey` is being replaced."""
    host_key: PrivateKey
    """The key that every host shows when somebody logs in."""

    @property
    def login_key(self) -> str:
        """The private key that every host takes now."""
        return (self.previous_private_key or self.private_key).get_secret_value()

    @property
    def authorized_keys(self) -> tuple[str, ...]:
        """The public keys that may log in, one line each."""
        before = self.previous_private_key
        return (self.public_key, *([keys.public_key(before.get_secret_value())] if before else []))

    @property
    def public_key(self) -> str:
        """One line in the format of authorized_keys."""
        return keys.public_key(self.private_key.get_secret_value())

    @property
    def host_public_key(self) -> str:
        """One line: key type and key, as in known_hosts after the name."""
        return keys.public_key(self.host_key.get_secret_value())


class Stats(Section):
    """Who may log in to HAProxy's statistics page."""

    user: LoginName = "stats"
    """The login's name."""
    password: Password
    """The login's password."""


class Administrator(Section):
    """The first user of Ant Media Server's dashboard: whoever makes it first owns the server, so the deployment does.

    A group of its own, as `ssh` and `stats` are: the engine calls a whole group secret when one of its keys is.
    """

    email: Annotated[
        str,
        Matches(_EMAIL),
        Guide(
            "an e-mail address: the login name of the dashboard",
            "leave the key out, or give an address; Ant Media Server reports it to its maker",
        ),
    ] = "admin@antmedia.invalid"
    """The login's name; Ant Media Server reports it to its maker."""
    password: Password
    """The login's password."""
    previous_password: Annotated[
        SecretStr | None,
        AfterValidator(lambda secret: None if secret is None else _password(secret)),
        Guide(
            "the password before this one, as a secret, while it is being replaced; otherwise nothing",
            "set it to what password was, and run an update; then it can be removed",
        ),
    ] = None
    """What the dashboard still takes while `password` is being replaced."""


class TypeFigures(Section):
    """What an instance type has that the table in cluster/instance_types.py does not know."""

    vcpus: Annotated[int, Field(ge=1, le=1024), Guide(remedy="take it from AWS's list of types", unit="vCPU")]
    """Its virtual processors."""
    memory_gib: Annotated[int, Field(ge=1, le=32768), Guide(remedy="take it from AWS's list of types", unit="GiB")]
    """Its memory."""


class License(Section):
    """Ant Media Server Enterprise's; an image from the AWS Marketplace has its own."""

    key: Annotated[
        SecretStr | None,
        AfterValidator(_license_key),
        Guide(
            "an Ant Media Server licence key, as a secret, or nothing",
            "set it with: tools/pulumi config set --secret --path 'antmedia:license.key' -s STACK <FILE; leave it out "
            "with an image from the AWS Marketplace",
        ),
    ] = None
    """The licence that every media node is given."""


class Alarms(Section):
    """What is watched by CloudWatch, and who is told; `alarms: false` for neither alarms nor a dashboard."""

    email: Annotated[
        Annotated[str, Matches(_EMAIL)] | None,
        Guide("an e-mail address, or nothing", "give the address that is to be told, or leave the key out"),
    ] = None
    """Whom alarms are sent to, once they have followed the link in AWS's first message; left out, alarms are only shown
    by CloudWatch."""


class Settings(Section):
    """Everything a person decides about one stack."""

    domain: DomainName | None = None
    """The name that viewers use; without it the load balancer's address serves, which needs `tls.mode` self-signed or
    none."""
    admin_cidrs: Annotated[
        tuple[
            Annotated[
                str,
                AfterValidator(_admin_cidr),
                _CIDR,
                Guide(
                    f"an IPv4 network in CIDR notation, without host bits, from /{ADMIN_SHORTEST_PREFIX} to /32, "
                    "such as 203.0.113.7/32",
                    "write addresses, no names and no ranges; one address ends in /32",
                ),
            ],
            ...,
        ],
        Field(min_length=1, max_length=20, strict=False),
        Guide(
            "a list of 1 to 20 IPv4 networks in CIDR notation, such as [203.0.113.7/32]",
            "name the addresses that may reach SSH and the statistics page; yours now: curl https://checkip.amazonaws.com",
        ),
    ]
    """Who may reach SSH, the statistics page, Ant Media Server's dashboard and its REST; deployments come from there
    too."""
    tls: Tls = Tls()
    dns: Dns = Dns()
    network: Network = Network()
    media: Media
    load_balancer: LoadBalancer = LoadBalancer()
    database: Database = Database()
    database_login: DatabaseLogin = DatabaseLogin()
    ssh: Ssh
    stats: Stats
    administrator: Administrator
    instance_types: Annotated[
        dict[Annotated[str, Matches(_TYPE_NAME)], TypeFigures],
        Guide(
            "instance types by name, each with vcpus and memoryGib, such as c8i.xlarge: { vcpus: 4, memoryGib: 8 }",
            "indent a type's name and under it its figures",
        ),
        Field(default_factory=dict),
    ]
    """Figures of instance types that the program does not know."""
    license: License = License()
    alarms: Annotated[
        Alarms | None,
        Filled(off=False),
        Guide("false for no alarms", "indent these keys under alarms, or write alarms: false"),
    ] = Alarms()
    """What is watched by CloudWatch, and who is told. Metrics, alarms and the dashboard cost beyond AWS's free tier."""

    def figures(self, instance_type: str) -> Figures | None:
        """What an instance type has; None where neither the table nor `instanceTypes` knows it."""
        if own := self.instance_types.get(instance_type):
            return Figures(own.vcpus, own.memory_gib)
        return INSTANCE_TYPES.get(instance_type)

    @property
    def licence_key(self) -> str:
        """Ant Media Server's, or nothing."""
        return self.license.key.get_secret_value() if self.license.key else ""

    @property
    def database_mode(self) -> DatabaseMode:
        """Whose the database is. The Community Edition has no use for one."""
        return DatabaseMode.NONE if self.media.edition is Edition.COMMUNITY else self.database.mode

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and seldom meant."""
        said = []
        nodes = self.media.origins.count + self.media.edges.count
        if self.media.edition is Edition.ENTERPRISE and self.database.mode is DatabaseMode.NONE:
            said.append(
                f"{NAMESPACE}:database.mode is none: the {nodes} media nodes form no cluster, and each serves only "
                "what was published to it. Leave the key out for a database of the cluster's own."
            )
        if private := [cidr for cidr in self.admin_cidrs if _private(ipaddress.IPv4Network(cidr))]:
            said.append(
                f"{NAMESPACE}:adminCidrs names private addresses ({', '.join(private)}): nobody arrives from there "
                "over the internet. Yours as the internet sees it: curl https://checkip.amazonaws.com"
            )
        return tuple(said)

    @property
    def names(self) -> tuple[str, ...]:
        """Every public name, the domain first, each once: the records and the certificate have them all."""
        more = (*self.tls.extra_names, self.load_balancer.publish_name, self.load_balancer.play_name)
        return tuple(dict.fromkeys(name for name in (self.domain, *more) if name))


def load(
    values: Mapping[str, object], *, now: datetime, secret: Iterable[str] = (), elsewhere: Iterable[str] = ()
) -> Settings:
    """Validate the whole configuration.

    Args:
        values: the keys of the namespace without their prefix; structured values as dicts and lists.
        now: with a time zone; a certificate that is provided must be good at this time.
        secret: the top-level keys that the stack file keeps encrypted, whole or in part. No value under them is shown.
        elsewhere: the keys of other namespaces, with them: those that were meant for this one are mistakes.

    Raises:
        SettingsError: names every mistake at once.
    """
    strays = [mistake for name in elsewhere if (mistake := mistakes.stray(name, Settings))]
    try:
        settings = Settings.model_validate(dict(values))
    except ValidationError as error:
        details = error.errors(include_url=False)
        wrong = frozenset(str(detail["loc"][0]) for detail in details)
        refused = mistakes.mistakes(details, Settings, frozenset(secret))
        raise SettingsError([*strays, *refused, *_contradictions(_sound_part(values, wrong), now, wrong)]) from None
    if found := [*strays, *_contradictions(settings, now)]:
        raise SettingsError(found)
    return settings


def secrets_in_the_clear(values: Mapping[str, object], secret: Collection[str]) -> Iterator[str]:
    """A warning for each secret that the stack file holds for everybody to read. Arguments as for `load`."""
    for key in mistakes.keys(Settings):
        held: object = values
        for part in key.path:
            held = held.get(part) if isinstance(held, Mapping) else None
        if key.secret and isinstance(held, str) and key.path[0] not in secret:
            yield (
                f"{key.name} is in the clear in the stack file: whoever can read the file has it. Encrypt it with: "
                f"tools/pulumi config set --secret --path '{key.name}' -s STACK (it asks for the value). If others "
                "have seen the file, choose a new one."
            )


def _sound_part(values: Mapping[str, object], wrong: Collection[str]) -> Settings:
    """Settings without the top-level keys that are wrong or missing: what is said of the others is said at once."""
    sound = {
        name: TypeAdapter(info.rebuild_annotation()).validate_python(values[info.alias or name])
        for name, info in Settings.model_fields.items()
        if (info.alias or name) in values and (info.alias or name) not in wrong
    }
    return Settings.model_construct(_fields_set=set(sound), **sound)


def _contradictions(settings: Settings, now: datetime, wrong: Collection[str] = ()) -> Iterator[Mistake]:
    """Keys that are each right, but not together. Nothing is said of top-level keys that are wrong by themselves."""
    named = {"domain", "tls", "loadBalancer"}
    checks = (
        (named, _tls_contradictions(settings, now)),
        ({"domain", "loadBalancer", "instanceTypes"}, _load_balancer_contradictions(settings)),
        ({"media"}, _edition_contradictions(settings)),
        ({"media", "instanceTypes"}, _media_type_contradictions(settings)),
        ({"loadBalancer", "instanceTypes"}, _unknown_type(settings, "loadBalancer", settings.load_balancer)),
        ({"media", "database", "databaseLogin"}, _database_contradictions(settings)),
        ({"database", "instanceTypes"}, _database_type_contradictions(settings)),
        ({"ssh"}, _ssh_contradictions(settings)),
        (named | {"dns"}, _dns_contradictions(settings)),
    )
    for reads, found in checks:
        if reads.isdisjoint(wrong):
            yield from found


def _tls_contradictions(settings: Settings, now: datetime) -> Iterator[Mistake]:
    tls = settings.tls
    if settings.domain is None and tls.mode in (TlsMode.LETSENCRYPT, TlsMode.PROVIDED):
        yield Mistake(
            f"{NAMESPACE}:domain",
            "nothing",
            f"a domain name: tls.mode {tls.mode} makes a certificate for it",
            "set the domain, or set tls.mode to self-signed or none",
        )
    if tls.mode is TlsMode.PROVIDED:
        if tls.chain and tls.key:
            chain, key = tls.chain.get_secret_value(), tls.key.get_secret_value()
            for fault in certificates.faults(chain, key, settings.names, now):
                yield Mistake(
                    f"{NAMESPACE}:tls.chain",
                    SECRET,
                    f"a certificate that is good today for {', '.join(settings.names)}, with its key in tls.key",
                    f"{fault}: provide another one",
                )
        for name, held in (("chain", tls.chain), ("key", tls.key)):
            if held is None:
                yield missing(Settings, "tls", name)
    elif "mode" not in tls.model_fields_set:
        for name, held in (("chain", tls.chain), ("key", tls.key)):
            if held is not None:
                yield Mistake(
                    f"{NAMESPACE}:tls.{name}",
                    SECRET,
                    "nothing with tls.mode letsencrypt, which is the default",
                    "set tls.mode to provided, or remove it",
                )
    balancer = settings.load_balancer
    redirects = "clear_http" in balancer.model_fields_set and balancer.clear_http is ClearHttp.REDIRECT
    if tls.mode is TlsMode.NONE and redirects:
        yield Mistake(
            f"{NAMESPACE}:loadBalancer.clearHttp",
            ClearHttp.REDIRECT,
            "serve, or nothing, with tls.mode none: there is no HTTPS to lead to",
            "remove it, or choose another tls.mode",
        )


def _ssh_contradictions(settings: Settings) -> Iterator[Mistake]:
    if settings.ssh.public_key == settings.ssh.host_public_key:
        yield Mistake(
            f"{NAMESPACE}:ssh.hostKey",
            SECRET,
            "another key than privateKey: every host has the host key, so any one of them could log in to all others",
            "remove it, and let `make new-stack STACK=…` make another",
        )


def _dns_contradictions(settings: Settings) -> Iterator[Mistake]:
    zone = settings.dns.zone
    if zone and not settings.names:
        yield Mistake(
            f"{NAMESPACE}:dns.zone",
            zone,
            "nothing without a domain: there is no name to keep a record of",
            f"set the domain to {zone} or a name in it, or remove dns.zone",
        )
    for name in settings.names:
        if zone and name != zone and not name.endswith("." + zone):
            yield Mistake(
                f"{NAMESPACE}:dns.zone",
                zone,
                f"a zone that {name} is in",
                "name another zone or another name, or leave dns.zone out and set the records yourself",
            )


def _media_type_contradictions(settings: Settings) -> Iterator[Mistake]:
    media = settings.media
    groups = {"origins": media.origins, **({"edges": media.edge_group} if media.edge_group else {})}
    for key, group in groups.items():
        figures = settings.figures(group.instance_type)
        small = figures and (figures.vcpus < MEDIA_MINIMUM.vcpus or figures.memory_gib < MEDIA_MINIMUM.memory_gib)
        if small and not media.allow_below_minimum:
            yield Mistake(
                f"{NAMESPACE}:media.{key}.instanceType",
                f"{group.instance_type}, which has {figures}",
                f"a type with at least {MEDIA_MINIMUM}: Ant Media Server asks for it",
                "choose a larger one, or set media.allowBelowMinimum to true",
            )
        yield from _unknown_type(settings, f"media.{key}", group)


def _unknown_type(settings: Settings, key: str, group: MediaGroup | LoadBalancer | Database) -> Iterator[Mistake]:
    name = group.instance_type
    if settings.figures(name) is None:
        yield Mistake(
            f"{NAMESPACE}:{key}.instanceType",
            name,
            f"{_TYPES}, or one of instanceTypes",
            (f"did you mean {near}? Otherwise " if (near := _near_type(name)) else "choose one of them, or ")
            + f"give its figures: instanceTypes: {{ {name}: {{ vcpus: …, memoryGib: … }} }}",
        )


def _edition_contradictions(settings: Settings) -> Iterator[Mistake]:
    media = settings.media
    if media.edition is not Edition.COMMUNITY:
        return
    why = "Ant Media Server's Community Edition cannot form a cluster, so a stream would be on one node alone"
    for key, held, may_hold in (
        ("origins.count", media.origins.count if media.origins.count > 1 else None, "1"),
        ("edges", "a group of keys" if "edges" in media.model_fields_set else None, "nothing"),
    ):
        if held:
            yield Mistake(
                f"{NAMESPACE}:media.{key}",
                str(held),
                f"{may_hold} with edition community: {why}",
                f"{'set it to 1' if may_hold == '1' else 'remove it'}, or set media.edition to enterprise",
            )


def _database_contradictions(settings: Settings) -> Iterator[Mistake]:
    media, login = settings.media, settings.database_login
    if media.edition is Edition.COMMUNITY:
        if "database" in settings.model_fields_set:
            yield Mistake(
                f"{NAMESPACE}:database",
                "a group of keys",
                "nothing with edition community: Ant Media Server's Community Edition cannot form a cluster, so it has "
                "no use for a database",
                "remove it, or set media.edition to enterprise",
            )
        return
    match settings.database.mode:
        case DatabaseMode.MANAGED:
            if login.uri:
                yield Mistake(
                    f"{NAMESPACE}:databaseLogin.uri",
                    SECRET,
                    "nothing with database.mode managed, whose address the program knows",
                    "remove it, or set database.mode to external",
                )
            if not login.password:
                yield missing(Settings, "databaseLogin", "password")
        case DatabaseMode.EXTERNAL:
            if not login.uri:
                yield missing(Settings, "databaseLogin", "uri")
    if settings.database.backup and settings.database.mode is not DatabaseMode.MANAGED:
        yield Mistake(
            f"{NAMESPACE}:database.backup",
            "a group of keys",
            f"nothing with database.mode {settings.database.mode}: only a managed database is backed up",
            "remove it, and see to the backups of that database where it is"
            if settings.database.mode is DatabaseMode.EXTERNAL
            else "remove it, or set database.mode to managed",
        )


def _database_type_contradictions(settings: Settings) -> Iterator[Mistake]:
    if settings.database.mode is DatabaseMode.MANAGED:
        yield from _unknown_type(settings, "database", settings.database)


def _load_balancer_contradictions(settings: Settings) -> Iterator[Mistake]:
    balancer = settings.load_balancer
    figures = settings.figures(balancer.instance_type)
    most = capacity.max_connections(figures.memory_gib) if figures else 0
    if figures and balancer.max_connections and balancer.max_connections > most:
        yield Mistake(
            f"{NAMESPACE}:loadBalancer.maxConnections",
            str(balancer.max_connections),
            f"at most {most}: what the memory of a {balancer.instance_type} carries",
            "leave the key out, or choose a larger instanceType",
        )
    named = {"domain": settings.domain, "loadBalancer.publishName": balancer.publish_name}
    for key, name in (
        ("loadBalancer.publishName", balancer.publish_name),
        ("loadBalancer.playName", balancer.play_name),
    ):
        for other, held in named.items():
            if name and other != key and held == name:
                yield Mistake(
                    f"{NAMESPACE}:{key}",
                    name,
                    f"a name that is not {other}'s: by it HAProxy tells publishers from players",
                    "choose another name, or leave the key out",
                )
