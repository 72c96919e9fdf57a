"""The VPC: one public subnet per zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from cluster.plan import ClusterPlan


@dataclass(frozen=True)
class NetworkArgs:
    """What the network is made from. `zone_names` has at least as many as the plan has zones."""

    plan: ClusterPlan
    zone_names: Sequence[str]


def availability_zones(wanted: int) -> Sequence[str]:
    """The names of the region's zones, sorted, so that zone 1 is the same one every time.

    The first question to AWS: asked before anything is registered, so that missing credentials make one sentence.

    Raises:
        pulumi.RunError: AWS does not answer, or the region has fewer zones than `wanted`.
    """
    try:
        names = aws.get_availability_zones(
            state="available", filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}]
        ).names
    except Exception as error:  # the SDK has no narrower one for a failed invoke
        raise pulumi.RunError(
            "AWS did not answer; nothing was changed. Check that credentials are in the environment "
            "(aws sts get-caller-identity, AWS_PROFILE, aws sso login) and that aws:region is right in the stack file. "
            f"What AWS's provider said:\n{error}"
        ) from None
    if len(names) < wanted:
        raise pulumi.RunError(
            f"antmedia:network.zones is {wanted}, but the region has {len(names)} ({', '.join(sorted(names))}); "
            "nothing was changed. Ask for fewer zones, or choose another region with aws:region."
        )
    return sorted(names)


class Network(pulumi.ComponentResource):
    """A VPC with an internet gateway, one public subnet per zone, and a closed default group."""

    vpc_id: pulumi.Output[str]
    subnet_ids: Mapping[str, pulumi.Output[str]]
    """By the name of the plan's zone."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:network:Network", name, None, opts)
        own = pulumi.ResourceOptions(parent=self)
        plan = args.plan

        vpc = aws.ec2.Vpc(
            "vpc",
            cidr_block=str(plan.vpc),
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=plan.tags("network", "vpc"),
            opts=own,
        )
        aws.ec2.DefaultSecurityGroup(
            "default-closed", vpc_id=vpc.id, tags=plan.tags("network", "default-closed"), opts=own
        )
        gateway = aws.ec2.InternetGateway(
            "internet-gateway", vpc_id=vpc.id, tags=plan.tags("network", "internet-gateway"), opts=own
        )
        routes = aws.ec2.RouteTable("public", vpc_id=vpc.id, tags=plan.tags("network", "public"), opts=own)
        aws.ec2.Route(
            "internet", route_table_id=routes.id, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.id, opts=own
        )

        subnet_ids: dict[str, pulumi.Output[str]] = {}
        for zone in plan.zones:
            subnet = aws.ec2.Subnet(
                zone.name,
                vpc_id=vpc.id,
                cidr_block=str(zone.subnet),
                availability_zone=args.zone_names[zone.number - 1],
                map_public_ip_on_launch=True,
                tags=plan.tags("network", zone.name),
                opts=own,
            )
            aws.ec2.RouteTableAssociation(zone.name, subnet_id=subnet.id, route_table_id=routes.id, opts=own)
            subnet_ids[zone.name] = subnet.id

        self.vpc_id = vpc.id
        self.subnet_ids = subnet_ids
        self.register_outputs({"vpc_id": vpc.id, "subnet_ids": subnet_ids})
