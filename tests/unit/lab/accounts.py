"""Small accounts for the lab's unit tests: instances, groups and rules as `lab.ec2.model` gives them."""

from __future__ import annotations

import dataclasses
from typing import Any

from lab.ec2.model import Instance, MetadataOptions, Rule, SecurityGroup

VPC = "vpc-1"
OPTIONS = MetadataOptions(
    http_tokens="required", http_endpoint="enabled", http_put_response_hop_limit=1, instance_metadata_tags="disabled"
)


def instance(number: int, *groups: str, options: MetadataOptions = OPTIONS, **changed: Any) -> Instance:
    """A running instance with the private address 10.0.0.NUMBER."""
    made = Instance(
        id=f"i-{number:017x}",
        state="running",
        image_id="ami-0ccc0000000001302",
        instance_type="t3.small",
        private_ip=f"10.0.0.{number}",
        public_ip=None,
        subnet_id="subnet-1",
        subnet_cidr="10.0.0.0/24",
        vpc_id=VPC,
        mac="02:00:00:00:00:01",
        az="us-east-1a",
        user_data=b"",
        key_name=None,
        public_key="",
        security_group_ids=groups,
        metadata_options=options,
        tags={"Name": f"host-{number}"},
    )
    return dataclasses.replace(made, **changed)


def group(id_: str, ingress: tuple[Rule, ...] = (), egress: tuple[Rule, ...] = ()) -> SecurityGroup:
    return SecurityGroup(id=id_, name=id_, vpc_id=VPC, description="", ingress=ingress, egress=egress)


def rule(
    protocol: str,
    first: int | None = None,
    last: int | None = None,
    cidr: str | None = None,
    of_group: str | None = None,
) -> Rule:
    return Rule(
        id="sgr-1",
        protocol=protocol,
        from_port=first,
        to_port=first if last is None else last,
        cidr=cidr,
        group_id=of_group,
        description="",
    )
