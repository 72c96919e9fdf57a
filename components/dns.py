"""The public address, and the names that lead to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from cluster.firewall import Group
from cluster.plan import ClusterPlan

TTL_SECONDS: Final = 60
"""Short, so that a moved name is followed soon."""


@dataclass(frozen=True)
class DnsArgs:
    """What names are made from."""

    plan: ClusterPlan


class Dns(pulumi.ComponentResource):
    """An Elastic IP that outlives every host, and, where a Route 53 zone is named, a record for each public name."""

    elastic_ip: pulumi.Resource
    address: pulumi.Output[str]
    allocation_id: pulumi.Output[str]
    records: Sequence[pulumi.Resource]

    def __init__(self, name: str, args: DnsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:dns:Dns", name, None, opts)
        own = pulumi.ResourceOptions(parent=self)
        plan = args.plan
        elastic_ip = aws.ec2.Eip(
            "public-address", domain="vpc", tags=plan.tags(Group.LOAD_BALANCER.value, "public-address"), opts=own
        )
        self.elastic_ip = elastic_ip
        self.address = elastic_ip.public_ip
        self.allocation_id = elastic_ip.allocation_id
        self.records = self._records(plan, own)
        self.register_outputs({"address": self.address, "allocation_id": self.allocation_id})

    def _records(self, plan: ClusterPlan, own: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        zone = plan.settings.dns.zone
        if zone is None:
            return []
        zone_id = aws.route53.get_zone_output(
            name=zone, private_zone=False, opts=pulumi.InvokeOptions(parent=self)
        ).zone_id
        return [
            aws.route53.Record(
                name, zone_id=zone_id, name=name, type="A", ttl=TTL_SECONDS, records=[self.address], opts=own
            )
            for name in plan.settings.names
        ]
