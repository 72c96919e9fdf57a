"""The VPC: one public subnet per zone, and a log of who spoke to whom in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from cluster.plan import USABLE_ZONES, ClusterPlan
from components.role import role


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
        filters = [
            aws.GetAvailabilityZonesFilterArgs(name=name, values=[value]) for name, value in USABLE_ZONES.items()
        ]
        names = aws.get_availability_zones(filters=filters).names
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
    """A VPC with an internet gateway, one public subnet per zone, a closed default group, and flow logs."""

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

        if plan.settings.network.flow_log_days is not None:
            self._flow_log(plan, vpc, plan.settings.network.flow_log_days)

        self.vpc_id = vpc.id
        self.subnet_ids = subnet_ids
        self.register_outputs({"vpc_id": vpc.id, "subnet_ids": subnet_ids})

    def _flow_log(self, plan: ClusterPlan, vpc: aws.ec2.Vpc, days: int) -> None:
        """Whoever spoke to any host, let in or not, kept for so many days."""
        tags = plan.tags("network", "flow-log")
        group = aws.cloudwatch.LogGroup(
            "flow-log",
            name=plan.flow_log_group,
            retention_in_days=days,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        delivery, allowed = role(
            "flow-log",
            service="vpc-flow-logs",
            only_if={"StringEquals": {"aws:SourceAccount": vpc.owner_id}},
            policies={
                "flow-log": [
                    {
                        "Effect": "Allow",
                        # Not logs:CreateLogGroup: what is still on its way when the stack is destroyed would bring the
                        # group back, without its retention.
                        "Action": [
                            "logs:CreateLogStream",
                            "logs:DescribeLogGroups",
                            "logs:DescribeLogStreams",
                            "logs:PutLogEvents",
                        ],
                        "Resource": [group.arn, pulumi.Output.concat(group.arn, ":*")],
                    }
                ]
            },
            tags=tags,
            parent=self,
        )
        aws.ec2.FlowLog(
            "flow-log",
            vpc_id=vpc.id,
            traffic_type="ALL",
            log_destination=group.arn,
            iam_role_arn=delivery.arn,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=allowed),
        )
