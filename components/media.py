"""The Ant Media Server nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from cluster.firewall import Group
from cluster.plan import ClusterPlan
from components.host import instance


@dataclass(frozen=True)
class MediaNodesArgs:
    """What the nodes are made from. `subnet_ids` is keyed by the plan's zone names."""

    plan: ClusterPlan
    subnet_ids: Mapping[str, pulumi.Input[str]]
    security_group_ids: Mapping[Group, pulumi.Input[str]]


class MediaNodes(pulumi.ComponentResource):
    """Origins and edges, one instance each, at fixed private addresses."""

    instance_ids: Mapping[str, pulumi.Output[str]]
    """By node name."""
    public_addresses: Mapping[str, pulumi.Output[str]]
    """By node name. WebRTC media goes to these."""

    def __init__(self, name: str, args: MediaNodesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:media:MediaNodes", name, None, opts)
        instances = {
            node.name: instance(
                args.plan,
                node,
                group=Group.MEDIA,
                subnet_ids=args.subnet_ids,
                security_group_ids=args.security_group_ids,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for node in args.plan.media
        }
        self.instance_ids = {node: host.id for node, host in instances.items()}
        self.public_addresses = {node: host.public_ip for node, host in instances.items()}
        self.register_outputs({"instance_ids": self.instance_ids, "public_addresses": self.public_addresses})
