"""Small accounts for the lab's unit tests: instances, groups and rules as `lab.ec2.model` gives them."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

from lab.ec2.model import Instance, MetadataOptions, Rule, SecurityGroup
from lab.packet_filter import Member

VPC = "vpc-1"
GROUPS = ["sg-a", "sg-b", "sg-c"]
PORTS = st.integers(0, 65535)
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


@st.composite
def _rules(draw: st.DrawFn) -> Rule:
    cidr = draw(st.sampled_from([None, "0.0.0.0/0", "10.0.0.0/8", "10.0.0.2/32", "192.0.2.0/24"]))
    of_group = None if cidr else draw(st.sampled_from([*GROUPS, "sg-unknown"]))
    protocol = draw(st.sampled_from(["tcp", "udp", "6", "icmp", "-1", "50"]))
    first: int | None
    last: int | None
    if protocol in ("-1", "50"):
        first = last = None
    elif protocol == "icmp":
        first, last = draw(st.sampled_from([(-1, -1), (8, -1), (8, 0), (3, 1)]))
    else:
        first, last = sorted((draw(st.one_of(PORTS, st.just(80))), draw(st.one_of(PORTS, st.just(80)))))
    return rule(protocol, first, last, cidr, of_group)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[list[Member], list[SecurityGroup]]:
    rules = st.lists(_rules(), max_size=4).map(tuple)
    groups = [group(name, draw(rules), draw(rules)) for name in GROUPS]
    members = [
        Member(
            instance_id=f"i-{number:017x}",
            private=f"10.0.0.{number}",
            public=f"198.51.100.{number}" if draw(st.booleans()) else None,
            vpc_id=VPC,
            vpc_cidr="10.0.0.0/16",
            groups=tuple(draw(st.sets(st.sampled_from(GROUPS)))),
        )
        for number in range(1, draw(st.integers(1, 4)) + 1)
    ]
    return members, groups
