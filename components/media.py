"""The Ant Media Server nodes: their instances, and what makes servers of them and a cluster of those."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

import pulumi
import pulumi_aws as aws

from cluster import database, render
from cluster.firewall import Group
from cluster.plan import ClusterPlan, Node
from cluster.rollout import Rollout
from components.host import instance, remote_host
from components.remote import RemoteHost, Step


@dataclass(frozen=True)
class MediaNodesArgs:
    """What the nodes are made from. Ids are keyed by the plan's zone names and by group."""

    plan: ClusterPlan
    subnet_ids: Mapping[str, pulumi.Input[str]]
    security_group_ids: Mapping[Group, pulumi.Input[str]]
    balancer: RemoteHost
    """Where nodes are taken out of service and back."""
    through: pulumi.Input[str]
    """The load balancer's public address: the only way to a node."""
    entrance: pulumi.Resource
    """What has to be there before that way can be taken."""
    address: pulumi.Resource
    """That address: it goes when the stack goes, and not before."""
    reachable: Sequence[pulumi.Resource]
    """What has to be there before a node can reach its database."""


class MediaNodes(pulumi.ComponentResource):
    """Origins and edges, one instance each, at fixed private addresses; with a database, one cluster."""

    instance_ids: Mapping[str, pulumi.Output[str]]
    """By node name."""
    public_addresses: Mapping[str, pulumi.Output[str]]
    """By node name. WebRTC media goes to these."""
    serving: Mapping[str, pulumi.Resource]
    """By node name. Once they exist, the nodes do what they are there for, and HAProxy has found them up."""

    def __init__(self, name: str, args: MediaNodesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:media:MediaNodes", name, None, opts)
        self._args, self._plan = args, args.plan
        self._own = pulumi.ResourceOptions(parent=self)
        inputs = f"{args.plan.settings.licence_key}\n{database.uri(args.plan) or ''}\n"
        self._server_inputs = pulumi.Output.secret(inputs)
        # When they change, the server is started again: not with viewers on it.
        self._server_inputs_digest = pulumi.Output.secret(hashlib.sha256(inputs.encode()).hexdigest())
        before = args.plan.settings.administrator.previous_password
        previous = pulumi.Output.secret(f"{before.get_secret_value() if before else ''}\n")
        self._first_user = pulumi.Output.concat(administrator(args.plan), previous)
        self._instances: dict[str, aws.ec2.Instance] = {}
        self._hosts: dict[str, RemoteHost] = {}
        self._drains: dict[str, pulumi.CustomResource] = {}
        self._claimed: list[pulumi.Resource] = []
        """Once they exist, no node that is prepared so far takes a first user from whoever asks."""
        self._serving: dict[str, pulumi.Resource] = {}
        self.serving = self._serving

    def roll_out(self, order: Rollout, configure: Callable[[Sequence[pulumi.Resource]], pulumi.Resource]) -> None:
        """Every node, in that order. `configure` tells HAProxy of all of them, once what it is given exists; a node is
        there before, and serves afterwards.
        """
        for node in order.new:
            self._prepare(node)
        configured = configure(tuple(self._claimed))
        for node in order.present:
            before = order.predecessors.get(node.name)
            self._prepare(node, after=[self._serving[before]] if before else [self._args.entrance])
            self._join(node, configured)
        for node in order.new:
            self._join(node, configured)
        names = [node.name for node in self._plan.media]
        self.instance_ids = {name: self._instances[name].id for name in names}
        self.public_addresses = {name: self._instances[name].public_ip for name in names}
        self.register_outputs({"instance_ids": self.instance_ids, "public_addresses": self.public_addresses})

    def _prepare(self, node: Node, after: Sequence[pulumi.Resource] = ()) -> None:
        """The node's instance and its server; touched when `after` exist, and drained before it is replaced."""
        plan, args = self._plan, self._args
        forget = []
        if plan.forms_cluster:
            # After its instance is gone, so before it is made.
            step = Step("forget", render.node_forget(node), text=administrator(plan))
            forget = [args.balancer.on_delete(f"{node.name}-forget", step, self, args.address)]
        host = instance(
            plan,
            node,
            group=Group.MEDIA,
            subnet_ids=args.subnet_ids,
            security_group_ids=args.security_group_ids,
            after=after,
            opts=pulumi.ResourceOptions.merge(
                self._own,
                # EC2 would stop the host and start it again with its viewers on it.
                pulumi.ResourceOptions(depends_on=forget, replace_on_changes=["instanceType"]),
            ),
        )
        remote = remote_host(plan, node, host, address=str(node.address), through=args.through, opts=self._own)
        drain = args.balancer.on_delete(
            f"{node.name}-drain",
            Step(
                "drain",
                render.node_drain(node, plan.settings.media.drain_minutes),
                triggers=[host.id, self._server_inputs_digest],
                depends_on=[args.entrance],
            ),
            remote,
            args.address,
        )
        remote.step(
            Step(
                "ready",
                render.host_ready(),
                text=render.authorized_keys(plan.settings),
                depends_on=[drain, args.entrance, *args.reachable],
            )
        )
        claim = remote.step(Step("server", render.media_server(plan), text=self._server_inputs))
        # The nodes of a cluster have their users together: its first node makes the first one.
        if not plan.forms_cluster or node is plan.media[0]:
            claim = remote.step(Step("administrator", render.first_administrator(), text=self._first_user))
            self._claimed.insert(0, claim)
        else:
            self._claimed.append(claim)
        self._instances[node.name], self._hosts[node.name], self._drains[node.name] = host, remote, drain

    def _join(self, node: Node, configured: pulumi.Resource) -> None:
        """The prepared node's place in the cluster, and its share of the sessions once HAProxy knows it."""
        plan, remote, drain = self._plan, self._hosts[node.name], self._drains[node.name]
        if plan.forms_cluster:
            step = Step("joined", render.media_joined(node), text=administrator(plan), depends_on=self._claimed[:1])
            remote.step(step)
        if plan.settings.licence_key:
            text = pulumi.Output.concat(administrator(plan), plan.settings.licence_key, "\n")
            remote.step(Step("licence", render.media_licence(), text=text))
        *_, last = remote.steps.values()
        # On the instance too: --target-dependents does not look beyond what is deleted with the target.
        after = [configured, last, self._instances[node.name]]
        step = Step("serve", render.node_serve(node), triggers=[drain.id], depends_on=after)
        self._serving[node.name] = self._args.balancer.on_create(f"{node.name}-serve", step, remote)


def present_addresses(plan: ClusterPlan) -> frozenset[IPv4Address]:
    """The private addresses of the stack's hosts that exist in EC2 now, whatever the state knows; none in a preview,
    which touches nothing, in whatever order.
    """
    if pulumi.runtime.is_dry_run():
        return frozenset()
    found = aws.ec2.get_instances(
        filters=[{"name": f"tag:{key}", "values": [value]} for key, value in plan.stack_tags.items()],
        instance_state_names=["pending", "running", "stopping", "stopped"],
    )
    return frozenset(IPv4Address(address) for address in found.private_ips)


def administrator(plan: ClusterPlan) -> pulumi.Output[str]:
    """Two lines, e-mail address and password, for the scripts that log in to Ant Media Server."""
    user = plan.settings.administrator
    return pulumi.Output.secret(f"{user.email}\n{user.password.get_secret_value()}\n")
