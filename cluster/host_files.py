"""Every file that the program puts onto hosts: where, with which mode and owner, and what is in it.

The scripts that write them (`cluster.render`) and what a host is expected to have (`cluster.host_state`) both take them
from here, so that the two cannot differ.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from cluster import capacity, cloud_init, database, firewall, haproxy, monitoring
from cluster.plan import ClusterPlan, Node
from cluster.settings import PackageSource, Settings
from cluster.templates import rendered

_T = TypeVar("_T")


class Kind(enum.Enum):
    """What is at a path."""

    FILE = "file"
    FOLDER = "folder"
    ABSENT = "absent"


@dataclass(frozen=True)
class HostFile:
    """Something at a path of a host. `owner` is the name of its user and of its group."""

    path: str
    mode: int = 0o644
    owner: str = "root"
    content: str | None = None
    """None where the host decides it, or it is not known here."""
    secret: bool = False
    """Its content is never shown."""
    kind: Kind = Kind.FILE

    @property
    def octal(self) -> str:
        """The mode as chmod takes it."""
        return f"{self.mode:o}"

    @property
    def text(self) -> str:
        """The content, where it is known."""
        assert self.content is not None
        return self.content

    @property
    def arguments(self) -> str:
        """What the scripts' function `write` takes."""
        return f"{self.path} {self.octal} {self.owner}"

    def holding(self, content: str) -> HostFile:
        """The same place with a content."""
        return replace(self, content=content)

    @property
    def absent(self) -> HostFile:
        """The same place with nothing there."""
        return HostFile(self.path, kind=Kind.ABSENT)


def _folder(path: str, mode: int, owner: str = "root") -> HostFile:
    return HostFile(path, mode, owner, kind=Kind.FOLDER)


def _unit(name: str) -> HostFile:
    return HostFile(f"/etc/systemd/system/{name}")


def _drop_in(unit: str) -> HostFile:
    return _unit(f"{unit}.d/antmedia.conf")


HAPROXY_PACKAGES: Final = ("haproxy", "socat", "openssl", "curl", "python3")
CERTIFICATE_PACKAGES: Final = ("certbot", "curl", "openssl", "socat")
VOLUME_PACKAGES: Final = ("e2fsprogs",)

SSHD_CONFIG: Final = HostFile(cloud_init.SSHD_CONFIG, content=cloud_init.ONLY_ED25519)
AUTHORIZED_KEYS: Final = HostFile(
    f"/home/{cloud_init.LOGIN_USER}/.ssh/authorized_keys", 0o600, owner=cloud_init.LOGIN_USER
)
SETTINGS_FOLDER: Final = _folder("/etc/antmedia", 0o700)

HAPROXY_CONFIG: Final = HostFile(haproxy.CONFIG)
STATS_USERS: Final = HostFile(haproxy.STATS_USERS, 0o600, secret=True)
CERTIFICATE: Final = HostFile(haproxy.CERTIFICATE, 0o600, secret=True)
CERTIFICATE_FOLDER: Final = _folder(haproxy.CERTIFICATE.rpartition("/")[0], 0o700)
CERTIFICATE_SETTINGS: Final = HostFile("/etc/antmedia/certificate.conf", 0o600)
CERTIFICATE_STATE: Final = _folder(haproxy.CERTIFICATE_STATE, 0o700)
CERTIFICATE_TIMER: Final = "antmedia-certificate.timer"
CERTBOT_TIMER: Final = "certbot.timer"
"""Of Debian's package: it would renew a second time, past our checks."""

MEDIA_HOME: Final = "/usr/local/antmedia"
MEDIA_OWNER: Final = "antmedia"
"""The account that Ant Media Server's installer makes."""
MEDIA_INITIALIZED: Final = HostFile(f"{MEDIA_HOME}/conf/initialized", owner=MEDIA_OWNER)
"""Without it, the image's first start makes a user of its own."""
RED5_PROPERTIES: Final = HostFile(f"{MEDIA_HOME}/conf/red5.properties", 0o600, owner=MEDIA_OWNER, secret=True)
"""The server's settings, of which the program sets some. In a cluster the database's password is one of them."""

ACCOUNTS: Final = _folder(database.ACCOUNTS, 0o700)
DATA: Final = _folder(database.DATA, 0o700, owner=database.OWNER)
BACKUP_STATE: Final = _folder(database.BACKUP_STATE, 0o700)
BACKUP_SETTINGS: Final = HostFile(database.BACKUP_SETTINGS, 0o600)
BACKUP_TIMER: Final = "antmedia-database-backup.timer"

METRICS_TIMER: Final = "antmedia-metrics.timer"


def authorized_keys(settings: Settings) -> HostFile:
    """Who may log in."""
    return AUTHORIZED_KEYS.holding("".join(f"{key}\n" for key in settings.ssh.authorized_keys))


def haproxy_config(plan: ClusterPlan) -> HostFile:
    """The load balancer's haproxy.cfg."""
    return HAPROXY_CONFIG.holding(rendered("haproxy/haproxy.cfg.j2", lb=haproxy.load_balancer(plan), paths=haproxy))


def haproxy_drop_in() -> HostFile:
    """What the unit of Debian's package lacks."""
    text = rendered("haproxy/unit.conf.j2", paths=haproxy, capacity=capacity)
    return _drop_in(haproxy.UNIT).holding(text)


def haproxy_put() -> HostFile:
    """The program that puts HAProxy's files in place."""
    return HostFile(haproxy.PUT, 0o755, content=rendered("haproxy/put.sh.j2", paths=haproxy))


def haproxy_node() -> HostFile:
    """The program that takes a media node out, and back."""
    return HostFile(haproxy.NODE, 0o755, content=rendered("haproxy/node.py"))


def stats_users(user: str, hashed: str) -> HostFile:
    """The login of the statistics page; `hashed` is its password as crypt(5) has it."""
    return STATS_USERS.holding(rendered("haproxy/stats-users.cfg.j2", user=user, password=hashed))


def provided_certificate(settings: Settings) -> HostFile | None:
    """The chain and the key that the stack file gives; None where it gives none."""
    tls = settings.tls
    if not (tls.chain and tls.key):
        return None
    lines = f"{tls.chain.get_secret_value()}\n{tls.key.get_secret_value()}\n".split("\n")
    return CERTIFICATE.holding("".join(f"{line}\n" for line in lines if line.strip()))


def certificate_settings(settings: Settings, address: _T, store: _T) -> Sequence[str | _T]:
    """What `CERTIFICATE_SETTINGS` holds, in parts: the load balancer's public address and the id of its certificate's
    store are known only to a deployment.
    """
    start = rendered("certbot/certificate.conf.j2", tls=settings.tls, names=settings.names)
    return (start, "address=", address, "\nstore=", store, "\n")


def certificate_program() -> HostFile:
    """What looks after the certificate."""
    content = rendered("certbot/certificate.sh.j2", paths=haproxy, file=CERTIFICATE, settings=CERTIFICATE_SETTINGS)
    return HostFile(haproxy.CERTIFICATE_PROGRAM, 0o755, content=content)


def certificate_units() -> tuple[HostFile, HostFile]:
    """Its service and its timer."""
    service = rendered("certbot/certificate.service.j2", paths=haproxy)
    return (
        _unit("antmedia-certificate.service").holding(service),
        _unit(CERTIFICATE_TIMER).holding(rendered("certbot/certificate.timer.j2")),
    )


def database_packages(source: PackageSource) -> tuple[str, ...]:
    """The server with its tools, and what the accounts' program needs."""
    return ("curl", "python3-pymongo", *source.packages)


def package_key(source: PackageSource) -> HostFile:
    """The key that signs the database's repository."""
    return HostFile("/etc/apt/keyrings/antmedia-database.asc", content=source.key)


def package_source(source: PackageSource) -> HostFile:
    """The database's repository, for apt."""
    text = rendered("mongodb/packages.sources.j2", source=source, key=package_key(source).path)
    return HostFile("/etc/apt/sources.list.d/antmedia-database.sources", content=text)


def database_config() -> HostFile:
    """The database server's configuration."""
    return HostFile(database.CONFIG, content=rendered("mongodb/mongod.conf.j2", paths=database))


def database_drop_in() -> HostFile:
    """What the unit of MongoDB's package lacks."""
    return _drop_in(database.UNIT).holding(rendered("mongodb/unit.conf.j2", paths=database))


def database_mount(volume: str) -> HostFile:
    """The data volume's mount. `volume` is its id without the hyphen, or what stands for it in a script."""
    return _unit(database.MOUNT_UNIT).holding(rendered("mongodb/volume.mount.j2", paths=database, volume=volume))


def accounts_program() -> HostFile:
    """The program that makes the database's accounts."""
    return HostFile(database.ACCOUNTS_PROGRAM, 0o755, content=rendered("mongodb/accounts.py"))


def database_program() -> HostFile:
    """The program that dumps and restores."""
    return HostFile(database.PROGRAM, 0o755, content=rendered("mongodb/database.sh.j2", paths=database))


def backup_files(plan: ClusterPlan) -> tuple[HostFile, ...]:
    """Where the backups go and when; without backups, nothing of that is there."""
    backup = plan.settings.database.backup
    settings, timer = BACKUP_SETTINGS, _unit(BACKUP_TIMER)
    if backup is None:
        return (settings.absent, timer.absent)
    where = f"bucket={backup.bucket}\nprefix={database.backup_prefix(plan)}\n"
    service = _unit("antmedia-database-backup.service")
    return (
        settings.holding(where),
        service.holding(rendered("mongodb/backup.service.j2", paths=database)),
        timer.holding(rendered("mongodb/backup.timer.j2", hour=backup.hour)),
    )


def metrics_files(plan: ClusterPlan, node: Node) -> tuple[HostFile, ...]:
    """What publishes the metrics of the load balancer's or the database's host; nothing where none are published."""
    program = HostFile(monitoring.PROGRAM, 0o755)
    service, timer = _unit("antmedia-metrics.service"), _unit(METRICS_TIMER)
    if node not in monitoring.publishing(plan):
        return (program.absent, service.absent, timer.absent)
    content = rendered(
        "monitoring/metrics.sh.j2",
        names=monitoring,
        namespace=monitoring.namespace(plan),
        stack=plan.stack,
        node=node,
        roles=[role.value for role in monitoring.roles(plan)],
        balancer=node is plan.load_balancer,
        paths=haproxy,
        tls_port=firewall.STATS,
        database=database,
    )
    return (
        program.holding(content),
        service.holding(rendered("monitoring/metrics.service.j2", program=program.path)),
        timer.holding(rendered("monitoring/metrics.timer.j2")),
    )
