"""The VPC: one public subnet per zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from cluster.plan import ClusterPlan


@dataclass(frozen=True)
class NetworkArgs:
    """What the network is made from."""

    plan: ClusterPlan


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

        # By name, so that zone 1 is the same one every time.
        zone_names = aws.get_availability_zones_output(
            state="available",
            filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}],
            opts=pulumi.InvokeOptions(parent=self),
        ).names
        subnet_ids: dict[str, pulumi.Output[str]] = {}
        for zone in plan.zones:
            subnet = aws.ec2.Subnet(
                zone.name,
                vpc_id=vpc.id,
                cidr_block=str(zone.subnet),
                availability_zone=zone_names[zone.number - 1],
                map_public_ip_on_launch=True,
                tags=plan.tags("network", zone.name),
                opts=own,
            )
            aws.ec2.RouteTableAssociation(zone.name, subnet_id=subnet.id, route_table_id=routes.id, opts=own)
            subnet_ids[zone.name] = subnet.id

        self.vpc_id = vpc.id
        self.subnet_ids = subnet_ids
        self.register_outputs({"vpc_id": vpc.id, "subnet_ids": subnet_ids})
