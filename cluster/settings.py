"""The only description of the configuration: every key of `antmedia:`, its default, its limits, its messages.

`load` turns the values of a stack file into frozen `Settings`, or raises one `SettingsError` that lists every mistake.
"""

from __future__ import annotations

import difflib
import enum
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cluster import addressing, capacity, certificates, keys, package_sources
from cluster.instance_types import INSTANCE_TYPES, MEDIA_MINIMUM
from cluster.instance_types import InstanceType as Figures

NAMESPACE: Final = "antmedia"
SECRET: Final = "[secret]"


class Guide:
    """What a person needs to know of one key when it is wrong: what it may hold, and how to put it right."""

    def __init__(self, may_hold: str, remedy: str) -> None:
        self.may_hold = may_hold
        self.remedy = remedy


class Section(BaseModel):
    """A group of keys: frozen, camelCase in the stack file, unknown keys refused, no silent conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        hide_input_in_errors=True,
    )


def _network(text: str) -> str:
    network = ipaddress.IPv4Network(text)  # raises on host bits and on anything but IPv4
    if "/" not in text:
        raise ValueError("no prefix length")
    return str(network)


def _vpc_cidr(text: str) -> str:
    network = ipaddress.IPv4Network(_network(text))
    widest, narrowest = addressing.VPC_PREFIX_LENGTHS
    if not widest <= network.prefixlen <= narrowest:
        raise ValueError("wrong size")
    if not any(network.subnet_of(block) for block in addressing.PRIVATE_BLOCKS):
        raise ValueError("not private")
    return str(network)


def _admin_cidr(text: str) -> str:
    network = ipaddress.IPv4Network(_network(text))
    if network.prefixlen < ADMIN_SHORTEST_PREFIX:
        raise ValueError("too wide")
    return str(network)


def _domain(text: str) -> str:
    # Names of hosts: RFC 1123, section 2.1; at least two labels, the last one not a number; in small letters.
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if len(text) > 253 or not re.fullmatch(rf"({label}\.)+(?!\d+$){label}", text):
        raise ValueError("not a domain")
    return text


def _email(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]+", text):
        raise ValueError("not an address")
    return text


def _matches(pattern: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError("does not match")
        return text

    return AfterValidator(check)


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


_HOSTS: Final = r"(?P<hosts>[A-Za-z0-9.-]+(:\d+)?(,[A-Za-z0-9.-]+(:\d+)?)*)"
MONGODB_URI: Final = re.compile(
    rf"mongodb(?P<srv>\+srv)?://[^\s:@/?#'\"\\]+:[^\s:@/?#'\"\\]+@{_HOSTS}(/[^\s/?#'\"\\]*(\?[^\s#'\"\\]*)?)?"
)
"""A connection string with user and password, which MongoDB's drivers want percent-encoded."""

ADMIN_SHORTEST_PREFIX: Final = 8
"""The widest block of administrators' addresses that is let in: a whole organisation's, never the internet."""

_AMI_ID: Final = r"ami-([0-9a-f]{8}|[0-9a-f]{17})"

_TYPE_NAME: Final = r"[a-z0-9-]{2,20}\.[a-z0-9-]{4,20}"
_TYPES: Final = ", ".join(sorted(INSTANCE_TYPES))
DEBIAN_AMI: Final = "debian-13-amd64-20251117-2299"

InstanceType = Annotated[
    str,
    _matches(_TYPE_NAME),
    Guide(
        f"an EC2 instance type: {_TYPES}, or one of instanceTypes",
        "choose one of them, or give the figures of another one under instanceTypes",
    ),
]
DebianAmi = Annotated[
    str,
    _matches(rf"{_AMI_ID}|debian-13-amd64-\d{{8}}-\d+"),
    Guide(
        "the id of a Debian 13 image (ami-…) or the exact name of one of Debian's own, "
        "such as debian-13-amd64-20251117-2299",
        "find the newest with: aws ec2 describe-images --owners 136693071363 "
        "--filters 'Name=name,Values=debian-13-amd64-*' "
        "--query 'sort_by(Images,&CreationDate)[-1].Name'",
    ),
]
VolumeGb = Annotated[
    int,
    Field(ge=8, le=16384),
    Guide("a whole number of GiB from 8 to 16384 (gp3 volumes)", "write a number without quotes"),
]
NodeCount = Annotated[
    int,
    Field(ge=1, le=addressing.MAX_NODES_PER_ROLE),
    Guide(f"a whole number from 1 to {addressing.MAX_NODES_PER_ROLE}", "write a number without quotes; at least 1"),
]
PrivateKey = Annotated[
    SecretStr,
    AfterValidator(_private_key),
    Guide(
        "an unencrypted ed25519 private key in OpenSSH format, as a secret",
        "let `make new-stack STACK=…` make it",
    ),
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
    Guide(
        "a domain name in small letters, such as live.example.com",
        "give the name that viewers will use, without https:// and without a port",
    ),
]
_PEM_REMEDY = "set it with: tools/pulumi config set --secret --path 'antmedia:tls.{}' -s STACK <FILE.pem"


class Tls(Section):
    """How the public names get their certificate."""

    mode: Annotated[
        Annotated[TlsMode, Field(strict=False)],
        Guide(
            "letsencrypt, provided, self-signed or none",
            "letsencrypt fetches and renews a certificate; provided takes yours; self-signed makes browsers warn; "
            "none serves in the clear",
        ),
    ] = TlsMode.LETSENCRYPT
    email: Annotated[
        str | None,
        AfterValidator(lambda text: None if text is None else _email(text)),
        Guide("an e-mail address, or nothing", "give the address that the certificate authority may write to"),
    ] = None
    extra_names: Annotated[
        tuple[DomainName, ...],
        Field(max_length=20, strict=False),
        Guide("a list of at most 20 further domain names for the certificate", "write them as a list"),
    ] = ()
    acme_directory: Annotated[
        str,
        _matches(r"https://[a-z0-9.-]+(:\d+)?/[A-Za-z0-9._~/%-]*"),
        Guide(
            "the https:// address of an ACME directory",
            "leave the key out for Let's Encrypt; its staging directory is "
            "https://acme-staging-v02.api.letsencrypt.org/directory",
        ),
    ] = "https://acme-v02.api.letsencrypt.org/directory"
    chain: Annotated[
        SecretStr | None,
        Guide("the certificate and its issuers in PEM format, as a secret", _PEM_REMEDY.format("chain")),
    ] = None
    key: Annotated[
        SecretStr | None,
        Guide("the certificate's unencrypted private key in PEM format, as a secret", _PEM_REMEDY.format("key")),
    ] = None


class Dns(Section):
    """Names in Route 53."""

    zone: Annotated[
        str | None,
        AfterValidator(lambda text: None if text is None else _domain(text)),
        Guide(
            "the name of a public Route 53 zone of this AWS account, such as example.com",
            "name the zone that the domain is in, or leave the key out and set the records yourself",
        ),
    ] = None


class Network(Section):
    """The VPC."""

    cidr: Annotated[
        str,
        AfterValidator(_vpc_cidr),
        Guide(
            "a private IPv4 network in CIDR notation from /16 to /20, without host bits, such as 172.30.0.0/16",
            "give the network address of a block of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16 that is large enough",
        ),
    ] = "172.30.0.0/16"
    zones: Annotated[
        int,
        Field(ge=1, le=addressing.MAX_ZONES),
        Guide(
            f"a whole number of availability zones from 1 to {addressing.MAX_ZONES}",
            "choose how many zones to spread over; changing it later replaces nodes",
        ),
    ] = 2


class Edition(enum.StrEnum):
    """Which Ant Media Server the image has."""

    ENTERPRISE = "enterprise"
    COMMUNITY = "community"


class MediaGroup(Section):
    """Media nodes of one role."""

    count: NodeCount = 1
    instance_type: InstanceType = "c6i.xlarge"
    volume_gb: VolumeGb = 30


class Media(Section):
    """The Ant Media Server nodes."""

    edition: Annotated[
        Annotated[Edition, Field(strict=False)],
        Guide(
            "enterprise or community",
            "Enterprise has WebRTC at scale and can be a cluster; Community is one node, an origin without edges",
        ),
    ] = Edition.ENTERPRISE
    ami: Annotated[
        str,
        _matches(rf"{_AMI_ID}|AntMedia-[A-Za-z0-9()._/-]{{1,120}}"),
        Guide(
            "the id of an Ant Media Server image in the stack's region (ami- and 8 or 17 hexadecimal digits), or the "
            "exact name of one of Ant Media's own, which begins with AntMedia-",
            "find it with: aws ec2 describe-images --owners 679593333241 "
            "--filters 'Name=name,Values=AntMedia-AWS-Marketplace-EE-*' "
            "--query 'sort_by(Images,&CreationDate)[-1].[ImageId,Name]'",
        ),
    ]
    origins: Annotated[
        MediaGroup, Guide("the keys count, instanceType and volumeGb", "indent these keys under origins")
    ] = MediaGroup()
    allow_below_minimum: Annotated[
        bool,
        Guide("true or false", "leave the key out; true lets nodes be smaller than Ant Media Server asks for"),
    ] = False
    edges: Annotated[
        MediaGroup, Guide("the keys count, instanceType and volumeGb", "indent these keys under edges")
    ] = MediaGroup()
    apps: Annotated[
        tuple[Annotated[str, _matches(r"(?!rest$)[A-Za-z][A-Za-z0-9_-]{0,62}")], ...],
        Field(min_length=1, max_length=50, strict=False),
        Guide(
            "a list of names of applications: letters, digits, - and _; viewers may use no others, and are sent to the "
            "first one",
            "list at least one application that the image has, such as LiveApp",
        ),
    ] = ("LiveApp",)

    @property
    def edge_group(self) -> MediaGroup | None:
        """The edges that are to exist; None where there are none."""
        return None if self.edition is Edition.COMMUNITY else self.edges


class Timeouts(Section):
    """How long HAProxy waits, and for what."""

    connect_seconds: Annotated[
        int,
        Field(ge=1, le=60),
        Guide("a whole number of seconds from 1 to 60", "write a number without quotes"),
    ] = 5
    request_seconds: Annotated[
        int,
        Field(ge=1, le=60),
        Guide("a whole number of seconds from 1 to 60", "write a number without quotes"),
    ] = 10
    idle_seconds: Annotated[
        int,
        Field(ge=10, le=3600),
        Guide("a whole number of seconds from 10 to 3600", "write a number without quotes"),
    ] = 60
    tunnel_minutes: Annotated[
        int,
        Field(ge=1, le=1440),
        Guide("a whole number of minutes from 1 to 1440", "write a number without quotes"),
    ] = 120
    drain_minutes: Annotated[
        int,
        Field(ge=1, le=1440),
        Guide("a whole number of minutes from 1 to 1440", "write a number without quotes"),
    ] = 720


class ClearHttp(enum.StrEnum):
    """What HTTP without TLS is answered with, where there is TLS."""

    REDIRECT = "redirect"
    SERVE = "serve"


class Limits(Section):
    """What one client address may do. Many viewers may share one: an office, a mobile network."""

    connections: Annotated[
        int,
        Field(ge=10, le=1_000_000),
        Guide("a whole number from 10 to 1000000: connections of one address at the same time", "leave the key out"),
    ] = 2000
    new_connections_per_second: Annotated[
        int,
        Field(ge=1, le=100_000),
        Guide("a whole number from 1 to 100000: over 10 seconds, for one address", "leave the key out"),
    ] = 200
    requests_per_second: Annotated[
        int,
        Field(ge=1, le=100_000),
        Guide("a whole number from 1 to 100000: over 10 seconds, for one address", "leave the key out"),
    ] = 500


class LoadBalancer(Section):
    """The HAProxy instance."""

    ami: DebianAmi = DEBIAN_AMI
    instance_type: InstanceType = "c6i.large"
    volume_gb: VolumeGb = 20
    max_connections: Annotated[
        int | None,
        Field(ge=1000, le=1_000_000),
        Guide(
            "a whole number from 1000 to 1000000, or nothing: then it is derived from the instance's memory",
            "leave the key out",
        ),
    ] = None
    clear_http: Annotated[
        Annotated[ClearHttp, Field(strict=False)],
        Guide("redirect or serve", "redirect sends everybody to HTTPS; serve is for players that cannot do TLS"),
    ] = ClearHttp.REDIRECT
    stickiness: Annotated[
        bool,
        Guide("true or false", "leave the key out: without stickiness logins and HLS viewer counts go wrong"),
    ] = True
    limits: Annotated[
        Limits | None,
        BeforeValidator(lambda value: None if value is False else value),
        Guide(
            "the keys connections, newConnectionsPerSecond and requestsPerSecond, or false for no limits",
            "indent these keys under limits, or write limits: false",
        ),
    ] = Limits()
    publish_name: Annotated[
        DomainName | None, Guide("a domain name of its own for publishers, or nothing", "leave the key out")
    ] = None
    play_name: Annotated[
        DomainName | None, Guide("a domain name of its own for players, or nothing", "leave the key out")
    ] = None
    timeouts: Annotated[
        Timeouts,
        Guide(
            "the keys connectSeconds, requestSeconds, idleSeconds, tunnelMinutes and drainMinutes",
            "indent these keys under timeouts",
        ),
    ] = Timeouts()


class DatabaseMode(enum.StrEnum):
    """Whose the database is."""

    MANAGED = "managed"
    EXTERNAL = "external"
    NONE = "none"


class OnDestroy(enum.StrEnum):
    """What becomes of the database's volume when the stack is destroyed."""

    SNAPSHOT = "snapshot"
    DELETE = "delete"
    REFUSE = "refuse"


class PackageSource(Section):
    """A Debian repository that has MongoDB's packages, and the key that signs it."""

    url: Annotated[
        str,
        _matches(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~/-]*)?"),
        Guide("the http:// or https:// address of a Debian repository", "leave packageSource out for MongoDB's own"),
    ] = package_sources.MONGODB_URL
    suite: Annotated[
        str,
        _matches(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*"),
        Guide("the name of a suite of that repository, such as trixie/mongodb-org/8.0", "leave the key out"),
    ] = package_sources.MONGODB_SUITE
    component: Annotated[
        str,
        _matches(r"[A-Za-z0-9._-]+"),
        Guide("the name of a component of that suite, such as main", "leave the key out"),
    ] = package_sources.MONGODB_COMPONENT
    packages: Annotated[
        tuple[Annotated[str, _matches(r"[a-z0-9][a-z0-9+.-]+")], ...],
        Field(min_length=1, max_length=20, strict=False),
        Guide(
            "a list of packages that bring mongod.service, mongodump and mongorestore",
            "leave the key out for mongodb-org-server and mongodb-database-tools",
        ),
    ] = package_sources.MONGODB_PACKAGES
    key: Annotated[
        str,
        AfterValidator(_armored_key),
        Guide(
            "the repository's public key, from -----BEGIN PGP PUBLIC KEY BLOCK----- to its end",
            "give the key as a block of text (key: |), or leave it out for MongoDB's own",
        ),
    ] = package_sources.MONGODB_KEY


class Backup(Section):
    """A dump of the whole database, every day, into a bucket of yours."""

    bucket: Annotated[
        str,
        _matches(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"),
        Guide(
            "the name of an S3 bucket that exists, in the stack's region, without dots",
            "make a bucket that keeps what is deleted (versioning), and name it here",
        ),
    ]
    hour: Annotated[
        int,
        Field(ge=0, le=23),
        Guide("a whole number from 0 to 23: the hour of the day, in UTC", "write a number without quotes"),
    ] = 3


class Database(Section):
    """The MongoDB database that makes a cluster of the media nodes."""

    mode: Annotated[
        Annotated[DatabaseMode, Field(strict=False)],
        Guide(
            "managed, external or none",
            "managed makes a host with MongoDB; external uses the one that databaseLogin.uri names; with none, one "
            "media node is all there can be",
        ),
    ] = DatabaseMode.MANAGED
    ami: DebianAmi = DEBIAN_AMI
    instance_type: InstanceType = "t3.medium"
    volume_gb: VolumeGb = 20
    package_source: Annotated[
        PackageSource,
        Guide("the keys url, suite, component, packages and key", "indent these keys under packageSource"),
    ] = PackageSource()
    on_destroy: Annotated[
        Annotated[OnDestroy, Field(strict=False)],
        Guide(
            "refuse, snapshot or delete",
            "refuse lets nobody destroy the data by mistake; snapshot keeps a snapshot of the volume; delete keeps "
            "nothing",
        ),
    ] = OnDestroy.REFUSE
    backup: Annotated[
        Backup | None,
        Guide("the keys bucket and hour, or nothing for no backups", "indent these keys under backup"),
    ] = None


class DatabaseLogin(Section):
    """How the media nodes log in to the database.

    A group of its own, as `stats` is: the engine calls a whole group secret when one of its keys is.
    """

    user: Annotated[
        str,
        _matches(r"[a-z][a-z0-9_-]{0,31}"),
        Guide("a login name: small letters, digits, - and _, at most 32", "leave the key out"),
    ] = "antmedia"
    password: Annotated[
        SecretStr | None,
        AfterValidator(_uri_password),
        Guide(
            "12 to 128 letters, digits and the characters - . _ ~ as a secret",
            "make one with: openssl rand -hex 16 | "
            "tools/pulumi config set --secret --path 'antmedia:databaseLogin.password' -s STACK",
        ),
    ] = None
    uri: Annotated[
        SecretStr | None,
        AfterValidator(_mongodb_uri),
        Guide(
            "mongodb://USER:PASSWORD@HOST/… or mongodb+srv://USER:PASSWORD@HOST/…, as a secret: given a bare address, "
            "Ant Media Server stays alone without saying so, and a database without a login is anybody's",
            "set it with: tools/pulumi config set --secret --path 'antmedia:databaseLogin.uri' -s STACK",
        ),
    ] = None


class Ssh(Section):
    """The two ed25519 key pairs of a stack: who logs in, and what every host shows of itself."""

    private_key: PrivateKey
    host_key: PrivateKey

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

    user: Annotated[
        str,
        _matches(r"[a-z][a-z0-9_-]{0,31}"),
        Guide("a login name: small letters, digits, - and _, at most 32", "use a name such as stats"),
    ] = "stats"
    password: Annotated[
        SecretStr,
        AfterValidator(_password),
        Guide(
            "12 to 128 printable ASCII characters without spaces, as a secret",
            "let `make new-stack STACK=…` make it",
        ),
    ]


class Administrator(Section):
    """The first user of Ant Media Server's dashboard: whoever makes it first owns the server, so the deployment does.

    A group of its own, as `ssh` and `stats` are: the engine calls a whole group secret when one of its keys is.
    """

    email: Annotated[
        str,
        AfterValidator(_email),
        Guide(
            "an e-mail address: the login name of the dashboard",
            "leave the key out, or give an address; Ant Media Server reports it to its maker",
        ),
    ] = "admin@antmedia.invalid"
    password: Annotated[
        SecretStr,
        AfterValidator(_password),
        Guide(
            "12 to 128 printable ASCII characters without spaces, as a secret",
            "let `make new-stack STACK=…` make it",
        ),
    ]


class TypeFigures(Section):
    """What an instance type has that the table in cluster/instance_types.py does not know."""

    vcpus: Annotated[int, Field(ge=1, le=1024), Guide("a whole number of vCPU", "take it from AWS's list of types")]
    memory_gib: Annotated[
        int, Field(ge=1, le=32768), Guide("a whole number of GiB", "take it from AWS's list of types")
    ]


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


_SECTION = "indent its keys under it"


class Settings(Section):
    """Everything a person decides about one stack."""

    domain: Annotated[
        DomainName | None,
        Guide(
            "a domain name in small letters, such as live.example.com",
            "give the name that viewers will use, without https:// and without a port",
        ),
    ] = None
    admin_cidrs: Annotated[
        tuple[
            Annotated[
                str,
                AfterValidator(_admin_cidr),
                Guide(
                    f"an IPv4 network in CIDR notation, without host bits, from /{ADMIN_SHORTEST_PREFIX} to /32, "
                    "such as 203.0.113.7/32",
                    "name the addresses that administer the cluster; the whole internet (0.0.0.0/0) is refused",
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
    tls: Annotated[Tls, Guide("the keys mode, email, extraNames, acmeDirectory, chain and key", _SECTION)] = Tls()
    dns: Annotated[Dns, Guide("the key zone", _SECTION)] = Dns()
    network: Annotated[Network, Guide("the keys cidr and zones", _SECTION)] = Network()
    media: Annotated[Media, Guide("the keys edition, ami, origins, edges and apps", _SECTION)]
    load_balancer: Annotated[
        LoadBalancer,
        Guide(
            "the keys ami, instanceType, volumeGb, maxConnections, clearHttp, stickiness, limits, publishName, "
            "playName and timeouts",
            _SECTION,
        ),
    ] = LoadBalancer()
    database: Annotated[
        Database,
        Guide("the keys mode, ami, instanceType, volumeGb, packageSource, onDestroy and backup", _SECTION),
    ] = Database()
    database_login: Annotated[
        DatabaseLogin,
        Guide("the key user and the secret password, or the secret uri", "let `make new-stack STACK=…` make them"),
    ] = DatabaseLogin()
    ssh: Annotated[
        Ssh,
        Guide("the secrets privateKey and hostKey", "let `make new-stack STACK=…` make them"),
    ]
    stats: Annotated[Stats, Guide("the key user and the secret password", "let `make new-stack STACK=…` make it")]
    administrator: Annotated[
        Administrator, Guide("the key email and the secret password", "let `make new-stack STACK=…` make it")
    ]
    instance_types: Annotated[
        dict[Annotated[str, _matches(_TYPE_NAME)], TypeFigures],
        Guide(
            "instance types by name, each with vcpus and memoryGib, such as c8i.xlarge: { vcpus: 4, memoryGib: 8 }",
            "indent a type's name and under it its figures",
        ),
    ] = {}
    license: Annotated[License, Guide("the secret key", _SECTION)] = License()

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
    def warning(self) -> str | None:
        """What is allowed and seldom meant."""
        nodes = self.media.origins.count + self.media.edges.count
        if self.media.edition is Edition.ENTERPRISE and self.database.mode is DatabaseMode.NONE:
            return (
                f"{NAMESPACE}:database.mode is none: the {nodes} media nodes form no cluster, and each serves only "
                "what was published to it. Leave the key out for a database of the cluster's own."
            )
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """Every public name, the domain first, each once: the records and the certificate have them all."""
        more = (*self.tls.extra_names, self.load_balancer.publish_name, self.load_balancer.play_name)
        return tuple(dict.fromkeys(name for name in (self.domain, *more) if name))


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a stack file."""

    key: str
    held: str
    may_hold: str
    remedy: str

    def __str__(self) -> str:
        return f"  {self.key}\n    holds     {self.held}\n    may hold  {self.may_hold}\n    remedy    {self.remedy}"


class SettingsError(Exception):
    """The configuration cannot be used. `mistakes` has every one of them; the text is for a person to read."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(
            f"{count} in the configuration; nothing was changed.\n\n" + "\n\n".join(map(str, self.mistakes)) + "\n"
        )


def load(values: Mapping[str, object], *, now: datetime, secret: Iterable[str] = ()) -> Settings:
    """Validate the whole configuration.

    Args:
        values: the keys of the namespace without their prefix; structured values as dicts and lists.
        now: with a time zone; a certificate that is provided must be good at this time.
        secret: the top-level keys that the stack file keeps encrypted, whole or in part. No value under them is shown.

    Raises:
        SettingsError: names every mistake at once.
    """
    try:
        settings = Settings.model_validate(dict(values))
    except ValidationError as error:
        hidden = frozenset(secret)
        details = error.errors(include_url=False, include_context=False)
        # A list whose elements are wrong is also reported as too short.
        places = [detail["loc"] for detail in details]
        mistakes = [
            _mistake(detail, hidden)
            for detail in details
            if detail["type"] != "too_short" or not any(_inside(place, detail["loc"]) for place in places)
        ]
        raise SettingsError(mistakes) from None
    if mistakes := list(_contradictions(settings, now)):
        raise SettingsError(mistakes)
    return settings


def _contradictions(settings: Settings, now: datetime) -> Iterator[Mistake]:
    """Keys that are each right, but not together."""
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
                yield _missing("tls", name)
    yield from _load_balancer_contradictions(settings)
    yield from _edition_contradictions(settings.media)
    yield from _type_contradictions(settings)
    yield from _database_contradictions(settings)
    zone = settings.dns.zone
    for name in settings.names:
        if zone and name != zone and not name.endswith("." + zone):
            yield Mistake(
                f"{NAMESPACE}:dns.zone",
                zone,
                f"a zone that {name} is in",
                "name another zone or another name, or leave dns.zone out and set the records yourself",
            )


def _type_contradictions(settings: Settings) -> Iterator[Mistake]:
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
    used = {f"media.{key}": group.instance_type for key, group in groups.items()}
    for key, name in {**used, "loadBalancer": settings.load_balancer.instance_type}.items():
        if settings.figures(name) is None:
            yield Mistake(
                f"{NAMESPACE}:{key}.instanceType",
                name,
                f"{_TYPES}, or one of instanceTypes",
                f"choose one of them, or give its figures: instanceTypes: {{ {name}: {{ vcpus: …, memoryGib: … }} }}",
            )


def _edition_contradictions(media: Media) -> Iterator[Mistake]:
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
                yield _missing("databaseLogin", "password")
        case DatabaseMode.EXTERNAL:
            if not login.uri:
                yield _missing("databaseLogin", "uri")


def _missing(*path: str) -> Mistake:
    guide, _, _ = _look_up(list(path))
    return Mistake(f"{NAMESPACE}:{'.'.join(path)}", "nothing", guide.may_hold, guide.remedy)


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


def _inside(place: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _mistake(detail: ErrorDetails, hidden: frozenset[str]) -> Mistake:
    # pydantic also names its own functions, and says that a mapping's key is what is wrong.
    location = [part for part in detail["loc"] if isinstance(part, int) or not re.match(r"function-|\[key\]$", part)]
    key = NAMESPACE + ":" + _path(location)
    guide, section, is_secret = _look_up(location)
    shown = SECRET if is_secret or location[0] in hidden else _shown(detail["input"])
    if detail["type"] == "extra_forbidden":
        known = [info.alias or name for name, info in section.model_fields.items()]
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        remedy = f"did you mean {near[0]}?" if near else "remove it"
        return Mistake(key, shown, "nothing: there is no such key; the keys here are " + ", ".join(known), remedy)
    if detail["type"] == "missing":
        shown = "nothing"
    return Mistake(key, shown, guide.may_hold, guide.remedy)


def _path(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a group of keys" if value else "an empty group"
    if isinstance(value, str) and not value:
        return "an empty text"
    # Quotes show that "2" was written as a text where a number belongs.
    text = json.dumps(value) if isinstance(value, str) and value.isdigit() else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


_UNKNOWN = Guide("", "")


def _look_up(location: list[int | str]) -> tuple[Guide, type[Section], bool]:
    """Follow a key's path through the models: its guide, the section it stands in, whether it is a secret."""
    section: type[Section] = Settings
    annotation: Any = Settings
    guide = _UNKNOWN
    for part in location:
        if isinstance(part, int):
            element = get_args(annotation)[0]
            guide = next((item for item in getattr(element, "__metadata__", ()) if isinstance(item, Guide)), guide)
            annotation = element
            continue
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        if not _is_section(annotation):
            break
        section = annotation
        info = next((info for name, info in section.model_fields.items() if part in (name, info.alias)), None)
        if info is None:
            return _UNKNOWN, section, False
        guide = _guide(info) or guide
        optional = () if get_origin(info.annotation) is dict else get_args(info.annotation)
        annotation = next((part for part in optional if _is_section(part)), info.annotation)
    return guide, section, annotation is SecretStr or SecretStr in get_args(annotation)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _guide(info: FieldInfo) -> Guide | None:
    return next((item for item in info.metadata if isinstance(item, Guide)), None)
