"""What the lab sees of the account: instances, groups, networks, addresses, names, as plain frozen values.

Each function takes a consistent copy while no request is under way. Only what a deployment made is shown: not the
default VPC, its subnets and its groups.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.ec2 import REGION, backend
from lab.ec2.patches import cloudwatch


@dataclass(frozen=True)
class MetadataOptions:
    """Who may ask the metadata service, and how. Names and values are EC2's."""

    http_tokens: str
    """`required`: IMDSv2 only; `optional`: IMDSv1 too."""
    http_endpoint: str
    """`enabled` or `disabled`."""
    http_put_response_hop_limit: int
    """The TTL of the answer to a request for a token."""
    instance_metadata_tags: str
    """`enabled` or `disabled`: whether tags can be read."""


@dataclass(frozen=True)
class InstanceProfile:
    """The IAM instance profile of an instance."""

    arn: str
    id: str
    role_arn: str | None
    """None while the profile has no role."""


@dataclass(frozen=True)
class Instance:
    """An EC2 instance, also a terminated one."""

    id: str
    state: str
    """`pending`, `running`, `stopping`, `stopped`, `shutting-down` or `terminated`."""
    image_id: str
    instance_type: str
    private_ip: str
    public_ip: str | None
    """The Elastic IP associated with it, or else the address given at launch; None while it has neither."""
    subnet_id: str
    subnet_cidr: str
    """Empty when the subnet is gone (a terminated instance)."""
    vpc_id: str
    mac: str
    az: str
    user_data: bytes
    """Decoded; empty when there is none."""
    key_name: str | None
    public_key: str
    """The key pair's public key in OpenSSH format; empty without one."""
    security_group_ids: tuple[str, ...]
    metadata_options: MetadataOptions
    tags: Mapping[str, str]
    profile: InstanceProfile | None = None

    @property
    def name(self) -> str:
        """The Name tag; the id without one."""
        return self.tags.get("Name") or self.id


@dataclass(frozen=True)
class Rule:
    """One security group rule. Exactly one of `cidr` and `group_id` is set."""

    id: str
    protocol: str
    """`tcp`, `udp`, `icmp`, another protocol's number, or `-1` for all."""
    from_port: int | None
    """First port (ICMP: type, -1 for all); None for all protocols."""
    to_port: int | None
    """Last port (ICMP: code, -1 for all); None for all protocols."""
    cidr: str | None
    group_id: str | None
    description: str


@dataclass(frozen=True)
class SecurityGroup:
    id: str
    name: str
    vpc_id: str
    description: str
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]


@dataclass(frozen=True)
class Vpc:
    id: str
    cidr: str


@dataclass(frozen=True)
class Subnet:
    id: str
    vpc_id: str
    cidr: str
    az: str
    reaches_internet: bool
    """Whether its route table sends 0.0.0.0/0 to an internet gateway attached to the VPC. Without it no traffic from
    or to a public address passes."""


def instances() -> list[Instance]:
    """All instances, terminated ones too, in the order of their launch."""
    with backend.LOCK:
        ec2 = backend.service("ec2")
        return [_instance(ec2, found) for reservation in ec2.reservations.values() for found in reservation.instances]


def security_groups() -> list[SecurityGroup]:
    """All groups of the VPCs that a deployment made, the default group of each too."""
    with backend.LOCK:
        ec2 = backend.service("ec2")
        return [
            SecurityGroup(
                id=group.id,
                name=group.name,
                vpc_id=vpc.id,
                description=group.description or "",
                ingress=tuple(_rules(group.ingress_rules)),
                egress=tuple(_rules(group.egress_rules)),
            )
            for vpc in _vpcs(ec2)
            for group in ec2.groups.get(vpc.id, {}).values()
        ]


@dataclass(frozen=True)
class Volume:
    """An EBS volume that is not an instance's root volume."""

    id: str
    size_gb: int
    instance_id: str | None
    """What it is attached to."""


def volumes() -> list[Volume]:
    """All volumes but root volumes."""
    with backend.LOCK:
        found = backend.service("ec2").volumes.values()
        return [
            Volume(volume.id, int(volume.size), volume.attachment.instance.id if volume.attachment else None)
            for volume in found
            if not volume.attachment or volume.attachment.device != volume.attachment.instance.root_device_name
        ]


def vpcs() -> list[Vpc]:
    """All VPCs but the default one."""
    with backend.LOCK:
        return [Vpc(vpc.id, vpc.cidr_block) for vpc in _vpcs(backend.service("ec2"))]


def subnets() -> list[Subnet]:
    """All subnets of the VPCs that a deployment made."""
    with backend.LOCK:
        ec2 = backend.service("ec2")
        own = {vpc.id for vpc in _vpcs(ec2)}
        found = [subnet for by_zone in ec2.subnets.values() for subnet in by_zone.values() if subnet.vpc_id in own]
        return [
            Subnet(
                id=subnet.id,
                vpc_id=subnet.vpc_id,
                cidr=subnet.cidr_block,
                az=subnet.availability_zone,
                reaches_internet=_reaches_internet(ec2, subnet),
            )
            for subnet in found
        ]


def public_addresses() -> dict[str, str]:
    """Public address to private address, for every interface that has one; an Elastic IP wins over an automatic one."""
    with backend.LOCK:
        ec2 = backend.service("ec2")
        elastic = {address.eni.id: address.public_ip for address in ec2.addresses if address.eni is not None}
        found = {}
        for interface in ec2.enis.values():
            public = elastic.get(interface.id) or interface.public_ip
            if public:
                found[public] = interface.private_ip_address
        return found


@dataclass(frozen=True)
class AddressRecords:
    """What the DNS says of a name that it is asked the IPv4 addresses of."""

    addresses: tuple[str, ...]
    ttl_seconds: int
    exists: bool = True
    """False: there is no such name. A name may exist without addresses."""


def a_records(name: str) -> AddressRecords | None:
    """What Route 53's zones say of a name; None if no zone is responsible for it.

    Only the zone with the longest matching name is asked. A wildcard counts for names below it that do not exist
    (RFC 4592). Aliases are not followed, private zones answer everybody, and of records with a routing policy the
    first one wins.
    """
    if not backend.is_loaded("route53"):
        return None
    wanted = name.rstrip(".").lower()
    with backend.LOCK:
        zones = {_plain(zone.name): zone for zone in backend.service("route53", "aws").zones.values()}
        covering = [apex for apex in zones if wanted == apex or wanted.endswith(f".{apex}")]
        if not covering:
            return None
        apex = max(covering, key=len)
        records = [(_plain(record.name), record) for record in zones[apex].rrsets]
    existing = {held for held, _ in records} | {apex}
    existing |= {held[start:] for held in existing for start in _label_starts(held) if len(held) - start > len(apex)}
    if wanted not in existing:
        ancestors = [wanted[start:] for start in _label_starts(wanted)]
        nearest = next(ancestor for ancestor in ancestors if ancestor in existing)
        wanted = f"*.{nearest}"
    if wanted not in existing:
        return AddressRecords((), _NEGATIVE_TTL_SECONDS, exists=False)
    found = next((record for held, record in records if (held, record.type) == (wanted, "A")), None)
    if found is None or not found.records:
        return AddressRecords((), _NEGATIVE_TTL_SECONDS)
    return AddressRecords(tuple(found.records), int(found.ttl or 0))


_NEGATIVE_TTL_SECONDS = 60


def _label_starts(name: str) -> list[int]:
    return [position + 1 for position, character in enumerate(name) if character == "."]


def _plain(name: str) -> str:
    """A name as it is asked for; Route 53 writes the asterisk as an octal code."""
    return str(name).rstrip(".").lower().replace("\\052", "*")


@dataclass(frozen=True)
class Alarm:
    """A CloudWatch alarm. `state` is CloudWatch's: `OK`, `ALARM` or `INSUFFICIENT_DATA`."""

    name: str
    state: str
    reason: str


def alarms() -> list[Alarm]:
    """All alarms as they are now."""
    if not backend.is_loaded("cloudwatch"):
        return []
    with backend.LOCK:
        held = backend.service("cloudwatch")
        cloudwatch.evaluate(held)
        return [Alarm(alarm.name, alarm.state_value, alarm.state_reason) for alarm in held.alarms.values()]


def objects() -> dict[str, list[str]]:
    """Everything in the account that was not there from the start, by kind; terminated instances do not count.

    Empty: a deployment was destroyed without leaving anything. EC2 is searched whole, whatever the kind; of the other
    services, those that a deployment uses.
    """
    with backend.LOCK:
        left = {kind: sorted(set(ids) - _defaults.get(kind, set())) for kind, ids in _everything()}
    return {kind: ids for kind, ids in left.items() if ids}


def remember_defaults() -> None:
    """Takes what the account holds now as there from the start. Only the first call counts."""
    if not _defaults:
        _defaults.update({kind: set(ids) for kind, ids in _everything()})


_defaults: dict[str, set[str]] = {}

# Not things of their own: tags of what is listed anyway, indexes and caches.
_NOT_OBJECTS = {"tags", "reservations", "instance_type_offerings", "regions", "zones", "deleted_amis"}


def _everything() -> Iterator[tuple[str, list[str]]]:
    ec2 = backend.service("ec2")
    live = [i.id for r in ec2.reservations.values() for i in r.instances if i.state != "terminated"]
    yield "ec2 instances", live
    for attribute, held in vars(ec2).items():
        if attribute.startswith("_") or attribute in _NOT_OBJECTS:
            continue
        ids = list(_ids(held))
        if ids:
            yield f"ec2 {attribute}", ids
    for kind, service, region, find in _OTHER_SERVICES:
        if backend.is_loaded(service):
            yield kind, [str(found) for found in find(backend.service(service, region))]


def _ids(held: Any) -> Iterator[str]:
    """The ids in moto's containers: dicts by id, dicts of dicts, lists of things with an id."""
    if isinstance(held, dict):
        for key, value in held.items():
            if isinstance(value, dict | list | set):
                yield from _ids(value)
            elif hasattr(value, "__dict__"):
                yield str(getattr(value, "id", None) or key)
    elif isinstance(held, list | set):
        for value in held:
            if hasattr(value, "__dict__"):
                yield str(getattr(value, "id", None) or value)


_Finder = Callable[[Any], Iterable[Any]]
_OTHER_SERVICES: tuple[tuple[str, str, str, _Finder], ...] = (
    ("route53 zones", "route53", "aws", lambda b: b.zones),
    ("route53 health checks", "route53", "aws", lambda b: b.health_checks),
    ("iam roles", "iam", "aws", lambda b: b.roles),
    ("iam users", "iam", "aws", lambda b: b.users),
    ("iam instance profiles", "iam", "aws", lambda b: b.instance_profiles),
    ("iam policies", "iam", "aws", lambda b: (a for a in b.managed_policies if ":aws:policy/" not in a)),
    ("cloudwatch alarms", "cloudwatch", REGION, lambda b: b.alarms),
    ("cloudwatch dashboards", "cloudwatch", REGION, lambda b: b.dashboards),
    ("sns topics", "sns", REGION, lambda b: b.topics),
    ("sns subscriptions", "sns", REGION, lambda b: b.subscriptions),
    ("log groups", "logs", REGION, lambda b: b.groups),
    ("kms keys", "kms", REGION, lambda b: (id_ for id_, key in b.keys.items() if _is_own(key))),
    ("secrets", "secretsmanager", REGION, lambda b: list(b.secrets)),
    ("ssm parameters", "ssm", REGION, lambda b: (n for n in b._parameters if not n.startswith("/aws/"))),
    ("s3 buckets", "s3", "aws", lambda b: b.buckets),
    ("load balancers", "elbv2", REGION, lambda b: b.load_balancers),
    ("target groups", "elbv2", REGION, lambda b: b.target_groups),
    ("auto scaling groups", "autoscaling", REGION, lambda b: b.autoscaling_groups),
)


def _is_own(key: Any) -> bool:
    """Not one of AWS's own, which come with the first encrypted volume and stay, and not one on its way out."""
    return key.key_state != "PendingDeletion" and not any(alias.startswith("alias/aws/") for alias in key.aliases)


def _vpcs(ec2: Any) -> list[Any]:
    return [vpc for vpc in ec2.vpcs.values() if not vpc.is_default]


def _instance(ec2: Any, found: Any) -> Instance:
    key = ec2.key_pairs.get(found.key_name) if found.key_name else None
    interface = found.nics[0]
    elastic = next((address.public_ip for address in ec2.addresses if address.eni is interface), None)
    options = found.metadata_options
    return Instance(
        id=found.id,
        state=found.state,
        image_id=found.image_id,
        instance_type=found.instance_type,
        private_ip=interface.private_ip_address,
        public_ip=elastic or interface.public_ip,
        subnet_id=interface.subnet.id,
        subnet_cidr=interface.subnet.cidr_block or "",
        vpc_id=interface.subnet.vpc_id,
        mac=interface.mac_address,
        az=found.availability_zone,
        user_data=base64.b64decode(str(found.user_data)) if found.user_data else b"",
        key_name=found.key_name,
        public_key=key.public_key if key else "",
        security_group_ids=tuple(group.id for group in found.security_groups),
        metadata_options=MetadataOptions(
            http_tokens=options.http_tokens,
            http_endpoint=options.http_endpoint,
            http_put_response_hop_limit=options.http_put_response_hop_limit,
            instance_metadata_tags=options.instance_metadata_tags,
        ),
        tags={tag["key"]: tag["value"] for tag in found.get_tags()},
        profile=_profile(found.iam_instance_profile),
    )


def _profile(held: Mapping[str, str] | None) -> InstanceProfile | None:
    if not held:
        return None
    profiles = backend.service("iam", "aws").instance_profiles.values()
    found = next((profile for profile in profiles if profile.arn == held["Arn"]), None)
    if found is None:  # deleted while in use: EC2 goes on naming it
        return InstanceProfile(held["Arn"], held.get("Id", ""), None)
    return InstanceProfile(found.arn, found.id, next((role.arn for role in found.roles), None))


def _rules(rules: Iterable[Any]) -> Iterator[Rule]:
    for rule in rules:
        if rule.cidr_ipv6:
            continue  # the lab has no IPv6
        every = rule.ip_protocol == "-1"
        yield Rule(
            id=rule.id,
            protocol=rule.ip_protocol,
            from_port=None if every else int(rule.from_port),
            to_port=None if every else int(rule.to_port),
            cidr=str(ipaddress.ip_network(rule.cidr_ipv4, strict=False)) if rule.cidr_ipv4 else None,
            group_id=rule.source_group.get("GroupId"),
            description=rule.description or "",
        )


def _reaches_internet(ec2: Any, subnet: Any) -> bool:
    tables = [table for table in ec2.route_tables.values() if table.vpc_id == subnet.vpc_id]
    own = [table for table in tables if subnet.id in table._associations.values()]
    main = [table for table in tables if table.main_association_id]
    attached = {
        gateway.id for gateway in ec2.internet_gateways.values() if gateway.vpc and gateway.vpc.id == subnet.vpc_id
    }
    return any(
        route.destination_cidr_block == "0.0.0.0/0" and route.gateway_id in attached
        for table in own or main
        for route in table.routes
    )
