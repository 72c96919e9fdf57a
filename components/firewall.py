"""Security groups, and one rule resource for each row and source of `cluster.firewall`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from cluster.firewall import Direction, Group, Rule, groups, rules
from cluster.plan import ClusterPlan


@dataclass(frozen=True)
class FirewallArgs:
    """What the firewall is made from."""

    plan: ClusterPlan
    vpc_id: pulumi.Input[str]


class Firewall(pulumi.ComponentResource):
    """A security group for each kind of host. Nothing passes but what the table says, in either direction."""

    group_ids: Mapping[Group, pulumi.Output[str]]

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:network:Firewall", name, None, opts)
        own = pulumi.ResourceOptions(parent=self)

        self.group_ids = {
            group: aws.ec2.SecurityGroup(
                group.value,
                vpc_id=args.vpc_id,
                description=f"antmedia {group.value} hosts",
                tags=args.plan.tags(group.value, group.value),
                opts=own,
            ).id
            for group in groups(args.plan)
        }
        for rule in rules(args.plan):
            self._rule(rule, args.plan, own)
        self.register_outputs({"group_ids": {group.value: id_ for group, id_ in self.group_ids.items()}})

    def _rule(self, rule: Rule, plan: ClusterPlan, own: pulumi.ResourceOptions) -> None:
        row = rule.row
        resource = (
            aws.vpc.SecurityGroupIngressRule if row.direction is Direction.INGRESS else aws.vpc.SecurityGroupEgressRule
        )
        resource(
            rule.key,
            security_group_id=self.group_ids[row.group],
            ip_protocol=row.ports.protocol,
            from_port=row.ports.first,
            to_port=row.ports.last,
            cidr_ipv4=rule.cidr,
            referenced_security_group_id=self.group_ids[rule.peer_group] if rule.peer_group else None,
            description=row.why,
            tags=plan.tags(row.group.value, rule.key),
            opts=own,
        )
