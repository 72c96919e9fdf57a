"""The program with exactly one thing wrong, which ANTMEDIA_UNSOUND names: what the rules of policy/ are to find."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pulumi

from tests.engine.sandbox import CHECKOUT

SOUND: Final = "sound"
NAME: Final = "ANTMEDIA_UNSOUND"


@dataclass(frozen=True)
class Flaw:
    """What breaks one rule: inputs in place of those that the program gives to one resource."""

    rule: str
    kind: str
    """The type's last word."""
    name: str
    """What the resource's name begins with."""
    inputs: dict[str, Any]


TO_THE_WORLD: Final = {"cidr_ipv4": "0.0.0.0/0", "referenced_security_group_id": None}
IMDS: Final = {"http_tokens": "required", "http_put_response_hop_limit": 1}

FLAWS: Final = {
    "a-port-too-many": Flaw("world-open-ports", "SecurityGroupIngressRule", "lb-rtmps", {"to_port": 1940}),
    "database-to-the-world": Flaw("world-open-ports", "SecurityGroupIngressRule", "db-mongodb", TO_THE_WORLD),
    "ssh-to-the-world": Flaw("administration-is-closed", "SecurityGroupIngressRule", "lb-ssh", TO_THE_WORLD),
    "statistics-to-the-world": Flaw("administration-is-closed", "SecurityGroupIngressRule", "lb-stats", TO_THE_WORLD),
    "database-by-address": Flaw(
        "database-is-closed",
        "SecurityGroupIngressRule",
        "db-mongodb",
        {"cidr_ipv4": "10.0.0.0/8", "referenced_security_group_id": None},
    ),
    "default-group-with-a-rule": Flaw(
        "default-group-is-closed",
        "DefaultSecurityGroup",
        "default-closed",
        {"ingress": [{"protocol": "-1", "from_port": 0, "to_port": 0, "self": True}]},
    ),
    "metadata-without-a-token": Flaw(
        "metadata-is-guarded", "Instance", "edge-1", {"metadata_options": {**IMDS, "http_tokens": "optional"}}
    ),
    "metadata-over-two-hops": Flaw(
        "metadata-is-guarded", "Instance", "lb-1", {"metadata_options": {**IMDS, "http_put_response_hop_limit": 2}}
    ),
    "data-in-the-clear": Flaw("volumes-are-encrypted", "Volume", "database", {"encrypted": False}),
    "root-in-the-clear": Flaw(
        "volumes-are-encrypted", "Instance", "origin-1", {"root_block_device": {"volume_size": 30, "encrypted": False}}
    ),
    "password-in-user-data": Flaw(
        "user-data-holds-no-secret",
        "Instance",
        "edge-1",
        {"user_data": '#cloud-config\n{"password": "correct-horse-battery"}'},
    ),
    "newest-image": Flaw(
        "images-are-pinned",
        "Instance",
        "lb-1",
        {"ami": "resolve:ssm:/aws/service/debian/release/13/latest/amd64"},
    ),
    "subnet-without-tags": Flaw("everything-is-tagged", "Subnet", "zone-1", {"tags": {"Name": "mine"}}),
    "logs-for-ever": Flaw("networks-are-logged", "LogGroup", "flow-log", {"retention_in_days": 0}),
    "refused-traffic-only": Flaw("networks-are-logged", "FlowLog", "flow-log", {"traffic_type": "REJECT"}),
}


def spoiling(flaw: Flaw) -> Callable[[pulumi.ResourceTransformationArgs], pulumi.ResourceTransformationResult | None]:
    def spoil(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if args.type_.rpartition(":")[2] != flaw.kind or not args.name.startswith(flaw.name):
            return None
        return pulumi.ResourceTransformationResult({**args.props, **flaw.inputs}, args.opts)

    return spoil


def main() -> None:
    """In place of __main__.py."""
    if (name := os.environ[NAME]) != SOUND:
        pulumi.runtime.register_stack_transformation(spoiling(FLAWS[name]))
    runpy.run_path(str(CHECKOUT / "__main__.py"))
