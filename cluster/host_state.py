"""What a host is to have, and how what was seen on it differs. Pure; `make drift` asks the hosts.

A host is what the steps on it leave behind, so what differs is mended by the step that put it there.
"""

from __future__ import annotations

import difflib
import enum
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cluster import database, haproxy, host_files, monitoring
from cluster.addressing import Role
from cluster.host_files import HostFile, Kind
from cluster.plan import ClusterPlan, Node
from cluster.settings import TlsMode

FIRST_BOOT: Final = ""
"""In place of a step: what cloud-init does, once."""

MEDIA_UNIT: Final = "antmedia.service"

INSTALLED: Final = "install ok installed"
"""dpkg's status of a package that is there, and that updates may replace."""

_RUNNING: Final = ("active", "reloading")


@dataclass(frozen=True)
class Deployed:
    """What only a deployment knows, and host files hold. None where it is not there yet."""

    address: str | None
    """The load balancer's public one."""
    certificate_store: str | None
    """The id of the secret."""
    volume: str | None
    """The id of the database's data volume."""
    stats_password: str | None = None
    """The password of the statistics page, hashed with the salt that the load balancer has chosen."""


@dataclass(frozen=True)
class Unit:
    """Whether a unit starts with the host, and whether it runs; None where the program does not say."""

    name: str
    enabled: bool | None = None
    active: bool | None = None


@dataclass(frozen=True)
class Property:
    """A line NAME=VALUE of a properties file. The value is never shown."""

    file: str
    name: str
    value: str


@dataclass(frozen=True)
class Left:
    """What one step leaves on a host."""

    files: Sequence[HostFile] = ()
    packages: Sequence[str] = ()
    units: Sequence[Unit] = ()
    properties: Sequence[Property] = ()


Expected = Mapping[str, Left]
"""By the name of the step, as `components` call it; `FIRST_BOOT` for what is older than any."""


class What(enum.StrEnum):
    """What a finding is about."""

    HOST = "host"
    CONTENT = "content"
    MODE = "mode"
    OWNER = "owner"
    PRESENCE = "presence"
    PACKAGE = "package"
    ENABLED = "enabled"
    ACTIVE = "active"
    PROPERTY = "property"


@dataclass(frozen=True)
class Finding:
    """One difference. `expected` and `found` are words for a person, and hold no secret."""

    node: str
    what: What
    subject: str
    """A path, a package, a unit, a property; the node itself for `HOST`."""
    expected: str
    found: str
    remedy: str = ""
    """What mends it, where a step does not: a command for the host's root."""
    step: str = FIRST_BOOT
    diff: str = ""
    """From what the file is to hold to what it holds."""


def expected(plan: ClusterPlan, node: Node, deployed: Deployed) -> Expected:
    """What the steps on a host leave there."""
    ready = {
        FIRST_BOOT: Left(files=[host_files.SSHD_CONFIG]),
        "ready": Left(files=[host_files.authorized_keys(plan.settings)]),
    }
    match node.role:
        case Role.LOAD_BALANCER:
            return {**ready, **_load_balancer(plan, deployed), "metrics": _metrics(plan, node)}
        case Role.DATABASE:
            return {**ready, **_database(plan, deployed), "metrics": _metrics(plan, node)}
        case _:
            return {**ready, "server": _media(plan)}


def _load_balancer(plan: ClusterPlan, deployed: Deployed) -> Expected:
    settings, users = plan.settings, host_files.STATS_USERS
    if deployed.stats_password:
        users = host_files.stats_users(settings.stats.user, deployed.stats_password)
    steps = {
        "install": Left(
            files=[
                host_files.CERTIFICATE_FOLDER,
                host_files.haproxy_drop_in(),
                host_files.haproxy_put(),
                host_files.haproxy_node(),
            ],
            packages=host_files.HAPROXY_PACKAGES,
            units=[Unit(haproxy.UNIT, enabled=True)],
        ),
        "certificate": Left(files=[host_files.CERTIFICATE]),
        "stats-login": Left(files=[users]),
        "configure": Left(files=[host_files.haproxy_config(plan)], units=[Unit(haproxy.UNIT, active=True)]),
    }
    if plan.orders_certificates:
        place = host_files.CERTIFICATE_SETTINGS
        if deployed.address and deployed.certificate_store:
            parts = host_files.certificate_settings(settings, deployed.address, deployed.certificate_store)
            place = place.holding("".join(parts))
        steps["certbot"] = Left(
            files=[
                host_files.SETTINGS_FOLDER,
                host_files.CERTIFICATE_STATE,
                place,
                host_files.certificate_program(),
                *host_files.certificate_units(),
            ],
            packages=host_files.CERTIFICATE_PACKAGES,
            units=[
                Unit(host_files.CERTIFICATE_TIMER, enabled=True, active=True),
                Unit(host_files.CERTBOT_TIMER, enabled=False, active=False),
            ],
        )
    else:
        provided = host_files.provided_certificate(settings) if settings.tls.mode is TlsMode.PROVIDED else None
        steps["certificate"] = Left(
            files=[provided or host_files.CERTIFICATE],
            units=[Unit(host_files.CERTIFICATE_TIMER, enabled=False, active=False)],
        )
    return steps


def _media(plan: ClusterPlan) -> Left:
    settings = host_files.RED5_PROPERTIES
    properties = [Property(settings.path, "server.licence_key", plan.settings.licence_key)]
    files = [host_files.MEDIA_INITIALIZED]
    if plan.forms_cluster:
        properties.append(Property(settings.path, "clusterdb.host", database.uri(plan) or ""))
        files.append(settings)
    return Left(files=files, units=[Unit(MEDIA_UNIT, active=True)], properties=properties)


def _database(plan: ClusterPlan, deployed: Deployed) -> Expected:
    source = plan.settings.database.package_source
    running = Unit(database.MOUNT_UNIT, enabled=True, active=True)
    mount = [host_files.database_mount(deployed.volume.replace("-", "", 1))] if deployed.volume else []
    backs_up = plan.settings.database.backup is not None
    return {
        "volume": Left(files=mount, packages=host_files.VOLUME_PACKAGES, units=[running]),
        "install": Left(
            files=[host_files.package_key(source), host_files.package_source(source)],
            packages=host_files.database_packages(source),
        ),
        "configure": Left(
            files=[
                host_files.ACCOUNTS,
                host_files.DATA,
                host_files.database_config(),
                host_files.database_drop_in(),
            ],
            units=[Unit(database.UNIT, enabled=True, active=True)],
        ),
        "accounts": Left(files=[host_files.accounts_program()]),
        "backup": Left(
            files=[
                host_files.SETTINGS_FOLDER,
                host_files.BACKUP_STATE,
                host_files.database_program(),
                *host_files.backup_files(plan),
            ],
            units=[Unit(host_files.BACKUP_TIMER, enabled=backs_up, active=backs_up)],
        ),
    }


def _metrics(plan: ClusterPlan, node: Node) -> Left:
    wanted = node in monitoring.publishing(plan)
    return Left(
        files=host_files.metrics_files(plan, node),
        units=[Unit(host_files.METRICS_TIMER, enabled=wanted, active=wanted)],
    )


def request(wanted: Expected) -> dict[str, Any]:
    """What the inspection on a host (tools/inspection/host.py) is to look at: JSON. It holds no secret.

    A file's text is asked for only where it may be shown, and only if it has not this digest.
    """
    files = [file for left in wanted.values() for file in left.files]
    properties: dict[str, list[str]] = {}
    for left in wanted.values():
        for each in left.properties:
            properties.setdefault(each.file, []).append(each.name)
    paths = {file.path for file in files}
    return {
        "files": {file.path: None if file.secret or file.content is None else digest(file.content) for file in files},
        "salts": sorted(paths & {host_files.STATS_USERS.path}),
        "properties": properties,
        "packages": sorted({package for left in wanted.values() for package in left.packages}),
        "units": sorted({unit.name for left in wanted.values() for unit in left.units}),
    }


def digest(text: str) -> str:
    """Of a file's content."""
    return hashlib.sha256(text.encode()).hexdigest()


def findings(node: str, wanted: Expected, seen: Mapping[str, Any]) -> list[Finding]:
    """How a host differs; nothing where it does not. `seen` is what the inspection answered to `request`.

    Raises:
        KeyError, TypeError: that is no such answer.
    """
    every = (found for step, left in wanted.items() for found in _of_step(node, step, left, seen))
    # Several steps want the same package.
    return list({(found.what, found.subject): found for found in every}.values())


def _of_step(node: str, step: str, left: Left, seen: Mapping[str, Any]) -> Iterator[Finding]:
    def finding(what: What, subject: str, wanted: str, found: str, diff: str = "", remedy: str = "") -> Finding:
        return Finding(node, what, subject, wanted, found, remedy=remedy, step=step, diff=diff)

    for file in left.files:
        held = seen["files"][file.path]
        kind = Kind.ABSENT.value if held is None else held["kind"]
        if kind != file.kind.value:
            yield finding(What.PRESENCE, file.path, file.kind.value, kind)
        elif held is not None:
            if held["mode"] != file.mode:
                yield finding(What.MODE, file.path, file.octal, f"{held['mode']:o}")
            owner, owners = f"{file.owner}:{file.owner}", f"{held['owner']}:{held['group']}"
            if owners != owner:
                yield finding(What.OWNER, file.path, owner, owners)
            if file.content is not None and held["digest"] != digest(file.content):
                diff = "" if file.secret or held["text"] is None else _diff(file, held["text"])
                yield finding(What.CONTENT, file.path, "what the program puts there", "something else", diff)
    for package in left.packages:
        status = seen["packages"].get(package) or "not installed"
        if status != INSTALLED:
            by_hand = f"apt-mark unhold {package}" if status.startswith("hold ok") else ""
            yield finding(What.PACKAGE, package, INSTALLED, status, remedy=by_hand)
    for unit in left.units:
        state = seen["units"][unit.name]
        if unit.enabled is not None and (state["enabled"] == "enabled") != unit.enabled:
            yield finding(What.ENABLED, unit.name, "enabled" if unit.enabled else "disabled", state["enabled"])
        if unit.active is not None and (state["active"] in _RUNNING) != unit.active:
            yield finding(What.ACTIVE, unit.name, "active" if unit.active else "inactive", state["active"])
    for each in left.properties:
        found = seen["properties"][each.file].get(each.name)
        if found != digest(each.value) and (found or each.value):
            subject = f"{each.name} in {each.file}"
            yield finding(What.PROPERTY, subject, "what the stack file says", "something else" if found else "not set")


def _diff(file: HostFile, text: str) -> str:
    lines = difflib.unified_diff(
        file.text.splitlines(), text.splitlines(), f"{file.path}, as it is to be", f"{file.path}, as it is", lineterm=""
    )
    return "\n".join(lines)
