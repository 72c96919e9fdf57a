"""The Ant Media Server nodes: their instances, and what makes servers of them and a cluster of those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from cluster import database, render
from cluster.firewall import Group
from cluster.plan import ClusterPlan
from components.host import instance, remote_host
from components.remote import Step


@dataclass(frozen=True)
class MediaNodesArgs:
    """What the nodes are made from. Ids are keyed by the plan's zone names and by group."""

    plan: ClusterPlan
    subnet_ids: Mapping[str, pulumi.Input[str]]
    security_group_ids: Mapping[Group, pulumi.Input[str]]
    through: pulumi.Input[str]
    """The load balancer's public address: the only way to a node."""
    reachable: Sequence[pulumi.Resource]
    """What has to be there before that way can be taken, and before a node can reach its database."""


class MediaNodes(pulumi.ComponentResource):
    """Origins and edges, one instance each, at fixed private addresses; with a database, one cluster."""

    instance_ids: Mapping[str, pulumi.Output[str]]
    """By node name."""
    public_addresses: Mapping[str, pulumi.Output[str]]
    """By node name. WebRTC media goes to these."""
    claimed: Sequence[pulumi.Resource]
    """Once they exist, no node takes a first user from whoever asks."""
    joined: Sequence[pulumi.Resource]
    """Once they exist, every node does what it is there for."""

    def __init__(self, name: str, args: MediaNodesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:media:MediaNodes", name, None, opts)
        plan, own = args.plan, pulumi.ResourceOptions(parent=self)
        instances = {
            node.name: instance(
                plan,
                node,
                group=Group.MEDIA,
                subnet_ids=args.subnet_ids,
                security_group_ids=args.security_group_ids,
                opts=own,
            )
            for node in plan.media
        }
        self.instance_ids = {node: host.id for node, host in instances.items()}
        self.public_addresses = {node: host.public_ip for node, host in instances.items()}

        server = pulumi.Output.secret(f"{plan.settings.licence_key}\n{database.uri(plan) or ''}\n")
        claimed: list[pulumi.Resource] = []
        joined: list[pulumi.Resource] = []
        for node in plan.media:
            steps = [
                Step("ready", render.host_ready(), depends_on=args.reachable),
                Step("server", render.media_server(plan), text=server),
            ]
            # The nodes of a cluster have their users together: its first node makes the first one.
            claims = not plan.forms_cluster or node is plan.media[0]
            if claims:
                steps.append(Step("administrator", render.first_administrator(), text=administrator(plan)))
            if plan.forms_cluster:
                steps.append(
                    Step("joined", render.media_joined(node), text=administrator(plan), depends_on=claimed[:1])
                )
            host = remote_host(
                plan, node, instances[node.name], steps, address=str(node.address), through=args.through, opts=own
            )
            claimed.append(host.steps["administrator" if claims else "server"])
            joined.append(host.last)
        self.claimed, self.joined = claimed, joined
        self.register_outputs({"instance_ids": self.instance_ids, "public_addresses": self.public_addresses})


def administrator(plan: ClusterPlan) -> pulumi.Output[str]:
    """Two lines, e-mail address and password, for the scripts that log in to Ant Media Server."""
    user = plan.settings.administrator
    return pulumi.Output.secret(f"{user.email}\n{user.password.get_secret_value()}\n")
