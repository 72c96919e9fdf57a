"""Whether AWS would let a plan be deployed: images, instance types, quotas. Nothing is changed or started.

Asked before a first deployment these are its commonest refusals, which otherwise come in the middle of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from cluster import images
from cluster.plan import USABLE_ZONES, ClusterPlan, Node
from tools.doctor.verdicts import Check, Verdict, failed, judged, not_looked_at, passed
from tools.recovery.account import Account
from tools.recovery.stack import RecoveryError

STANDARD_FAMILIES: Final = re.compile(r"(?!hpc|inf|trn|dl|im|is)[acdhimrtz]\d")
"""Instance types that count for `STANDARD_VCPUS`. Source: AWS's manual, "Amazon EC2 instance type quotas"."""


@dataclass(frozen=True)
class Quota:
    """One of an account's in a region. Source of the codes: the console of Service Quotas."""

    service: str
    code: str
    unit: str


STANDARD_VCPUS: Final = Quota("ec2", "L-1216C47A", "vCPUs of standard instances")
ELASTIC_IPS: Final = Quota("ec2", "L-0263D0A3", "Elastic IPs")
VPCS: Final = Quota("vpc", "L-F678F1CE", "VPCs")


def checks(plan: ClusterPlan, account: Account, deployed: Collection[str], subnet: str | None) -> Iterator[Check]:
    """What to ask. `deployed` are the hosts that exist, by name; `subnet` is one of the stack's, if it has one."""
    missing = [node for node in plan.nodes if node.name not in deployed]
    first = 0 if deployed else 1  # Elastic IP and VPC of a stack that is not there yet

    def check(title: str, look: Callable[[], Verdict]) -> Check:
        return Check(title, partial(_asked, look))

    yield Check("AWS answers", partial(_identity, account))
    for ami in dict.fromkeys(node.ami for node in plan.nodes):
        node = next(each for each in plan.nodes if each.ami == ami)
        names = _names([each for each in plan.nodes if each.ami == ami])
        yield check(f"image {ami} of {names} can be started", partial(_image, plan, account, node, subnet))
    for kind in dict.fromkeys(node.instance_type for node in plan.nodes):
        nodes = [node for node in plan.nodes if node.instance_type == kind]
        yield check(f"{kind} is offered in its zones", partial(_offered, account, kind, nodes))
    yield check("quota of vCPUs", partial(_vcpus, plan, account, missing))
    yield check("quota of Elastic IPs", partial(_elastic_ips, account, first))
    yield check("quota of VPCs", partial(_vpcs, account, first))


def image(ami: str, region: str, found: Sequence[Mapping[str, Any]]) -> Verdict | None:
    """`found` is EC2's description; None where nothing speaks against it."""
    if not found:
        return failed(
            f"there is none in {region}",
            "Images have another id in each region, are seen only by who may use them, and go when their publisher "
            "takes them back: find yours in the EC2 console, under AMI Catalog, and set it in the stack file.",
        )
    state = found[0].get("State", "available")
    return None if state == "available" else failed(f"it is {state}", "Wait, or set another one in the stack file.")


def start(code: str, said: str) -> Verdict:
    """By the error code and words of a start that EC2 was to try only."""
    match code:
        case "DryRunOperation":
            return passed("EC2 would start it")
        case "OptInRequired":
            return failed(
                said, "Subscribe to the product in the AWS Marketplace, with this account; it may take some minutes."
            )
        case "UnauthorizedOperation":
            return not_looked_at(
                "these credentials may start hosts in the stack's own network only, which is not there yet"
            )
        case "VPCIdNotSpecified" | "MissingInput":
            return not_looked_at("the region has no default VPC to try it in, and the stack's is not there yet")
    return failed(f"{code}: {said}", "Do image and instance type go together? Another one, in the stack file.")


def offered(kind: str, wanted: Mapping[str, Sequence[str]], zones: Collection[str]) -> Verdict:
    """`wanted` are the names of the nodes by zone; `zones` are those that offer the instance type."""
    lacking = {zone: names for zone, names in wanted.items() if zone not in zones}
    saw = "; ".join(f"not in {zone} ({', '.join(names)})" for zone, names in lacking.items())
    return judged(
        not lacking,
        saw or ", ".join(wanted),
        f"Choose another type than {kind}, fewer network.zones, or another region.",
    )


def quota(of: Quota, region: str, most: float, used: float, more: float) -> Verdict:
    """`more` are needed beside those `used`."""
    needed = used + more
    return judged(
        needed <= most,
        f"{most:.0f} {of.unit}, of which {used:.0f} are taken; {more:.0f} more are needed",
        f"aws service-quotas request-service-quota-increase --region {region} --service-code {of.service} "
        f"--quota-code {of.code} --desired-value {needed:.0f}  (AWS may take hours or days)",
    )


def _asked(look: Callable[[], Verdict]) -> Verdict:
    """What AWS does not answer was not looked at."""
    try:
        return look()
    except ClientError as error:
        return not_looked_at(f"{_code(error)}: {error.response.get('Error', {}).get('Message', '')}".rstrip(". "))
    except (BotoCoreError, ResponseParserError, RecoveryError) as error:
        return not_looked_at(str(error).rstrip("."))


def _identity(account: Account) -> Verdict:
    try:
        found = account.client("sts").get_caller_identity()
    except (ClientError, BotoCoreError, ResponseParserError, RecoveryError) as error:
        return failed(
            str(error).rstrip("."),
            "Have credentials in the environment: aws sts get-caller-identity, AWS_PROFILE, aws sso login. AWS refuses "
            "them too when this machine's clock is wrong by minutes.",
        )
    return passed(f"account {found['Account']}, as {found['Arn']}")


def _image(plan: ClusterPlan, account: Account, node: Node, subnet: str | None) -> Verdict:
    ec2 = account.client("ec2")
    try:
        found = ec2.describe_images(**_named(node.ami))["Images"]
    except ClientError as error:
        if not _code(error).startswith("InvalidAMIID"):
            raise
        found = []
    if against := image(node.ami, account.region, found):
        return against
    # As the program makes hosts: a policy may ask for the tags.
    tags = [{"Key": key, "Value": value} for key, value in plan.stack_tags.items()]
    try:
        ec2.run_instances(
            DryRun=True, ImageId=found[0]["ImageId"], InstanceType=node.instance_type, MinCount=1, MaxCount=1,
            TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
            **({"SubnetId": subnet} if subnet else {}),
        )  # fmt: skip
    except ClientError as error:
        return start(_code(error), error.response["Error"].get("Message", ""))
    raise RecoveryError("EC2 has not understood that it was to try only")


def _named(ami: str) -> dict[str, Any]:
    """What DescribeImages is asked for."""
    publisher = images.publisher(ami)
    if not publisher:
        return {"ImageIds": [ami]}
    return {"Owners": [publisher], "Filters": [{"Name": "name", "Values": [ami]}]}


def _offered(account: Account, kind: str, nodes: Sequence[Node]) -> Verdict:
    ec2 = account.client("ec2")
    filters = [{"Name": name, "Values": [value]} for name, value in USABLE_ZONES.items()]
    names = sorted(each["ZoneName"] for each in ec2.describe_availability_zones(Filters=filters)["AvailabilityZones"])
    wanted: dict[str, list[str]] = {}
    for node in nodes:
        if node.zone.number > len(names):
            return failed(f"the region has {len(names)} zones", "Fewer network.zones, or another region.")
        wanted.setdefault(names[node.zone.number - 1], []).append(node.name)
    answer = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [kind]}]
    )
    return offered(kind, wanted, {each["Location"] for each in answer["InstanceTypeOfferings"]})


def _vcpus(plan: ClusterPlan, account: Account, missing: Sequence[Node]) -> Verdict:
    others = [node.instance_type for node in plan.nodes if not STANDARD_FAMILIES.match(node.instance_type)]
    if others:
        return not_looked_at(f"{', '.join(sorted(set(others)))} have a quota of their own")
    most = _most(account, STANDARD_VCPUS)
    ec2 = account.client("ec2")
    there = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=there)
    running = Counter(
        host["InstanceType"]
        for page in pages
        for each in page["Reservations"]
        for host in each["Instances"]
        if STANDARD_FAMILIES.match(host["InstanceType"]) and host.get("InstanceLifecycle") != "spot"
    )
    types = ec2.describe_instance_types(InstanceTypes=list(running))["InstanceTypes"] if running else []
    used = sum(running[each["InstanceType"]] * each["VCpuInfo"]["DefaultVCpus"] for each in types)
    figures = [plan.settings.figures(node.instance_type) for node in missing]
    more = sum(each.vcpus for each in figures if each)
    return quota(STANDARD_VCPUS, account.region, most, used, more)


def _elastic_ips(account: Account, more: int) -> Verdict:
    most = _most(account, ELASTIC_IPS)
    return quota(ELASTIC_IPS, account.region, most, len(account.client("ec2").describe_addresses()["Addresses"]), more)


def _vpcs(account: Account, more: int) -> Verdict:
    most = _most(account, VPCS)
    return quota(VPCS, account.region, most, len(account.client("ec2").describe_vpcs()["Vpcs"]), more)


def _most(account: Account, of: Quota) -> float:
    """A quota that nobody has changed may have AWS's own value only."""
    quotas = account.client("service-quotas")
    asked = {"ServiceCode": of.service, "QuotaCode": of.code}
    try:
        answer = quotas.get_service_quota(**asked)
    except ClientError as error:
        if _code(error) != "NoSuchResourceException":
            raise
        answer = quotas.get_aws_default_service_quota(**asked)
    return float(answer["Quota"]["Value"])


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _names(nodes: Sequence[Node]) -> str:
    shown = 3
    names = [node.name for node in nodes]
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
