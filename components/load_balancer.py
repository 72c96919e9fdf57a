"""The HAProxy host: its instance, its Elastic IP, and what is put onto it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from cluster import host_files, monitoring, render
from cluster.firewall import Group
from cluster.plan import ClusterPlan
from cluster.settings import TlsMode
from components.certificate_store import CertificateStore
from components.dns import Dns
from components.host import instance, remote_host
from components.media import MediaNodes, administrator
from components.remote import RemoteHost, Step
from components.role import instance_profile
from components.sequence import once_there


@dataclass(frozen=True)
class LoadBalancerHostArgs:
    """What the host is made from. Ids are keyed by zone name and group."""

    plan: ClusterPlan
    dns: Dns
    certificate_store: CertificateStore | None
    """None where the plan orders no certificate."""
    subnet_ids: Mapping[str, pulumi.Input[str]]
    security_group_ids: Mapping[Group, pulumi.Input[str]]


class LoadBalancerHost(pulumi.ComponentResource):
    """The instance with the public address: where viewers enter, and deployments, on their way to every other host."""

    instance: aws.ec2.Instance
    address: pulumi.Output[str]
    reachable: pulumi.Resource
    """Once it exists, the address leads to this instance."""
    remote: RemoteHost

    def __init__(self, name: str, args: LoadBalancerHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:loadbalancer:LoadBalancerHost", name, None, opts)
        own, node, store = pulumi.ResourceOptions(parent=self), args.plan.load_balancer, args.certificate_store
        watched = node in monitoring.publishing(args.plan)
        self.address = args.dns.address
        self.instance = instance(
            args.plan,
            node,
            group=Group.LOAD_BALANCER,
            subnet_ids=args.subnet_ids,
            security_group_ids=args.security_group_ids,
            instance_profile=instance_profile(
                "load-balancer",
                policies={
                    **({"certificate": store.statements} if store else {}),
                    **({"load-balancer-metrics": [monitoring.permission(args.plan)]} if watched else {}),
                },
                tags=args.plan.tags(Group.LOAD_BALANCER.value, node.name),
                parent=self,
            ),
            opts=own,
        )
        self.reachable = aws.ec2.EipAssociation(
            node.name, allocation_id=args.dns.allocation_id, instance_id=self.instance.id, opts=own
        )
        self.remote = remote_host(args.plan, node, self.instance, address=self.address, opts=own)
        self.register_outputs({"address": self.address})


@dataclass(frozen=True)
class LoadBalancerArgs:
    """What HAProxy is made from."""

    plan: ClusterPlan
    haproxy_config: str
    """haproxy.cfg, complete."""
    host: LoadBalancerHost
    dns: Dns
    certificate_store: CertificateStore | None
    """None where the plan orders no certificate."""


class LoadBalancer(pulumi.ComponentResource):
    """HAProxy on its host: first told of the nodes, and in the end proven with all of them."""

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:loadbalancer:LoadBalancer", name, None, opts)
        self._args, self._on = args, args.host.remote
        self._certificate = _certificate_step(args.plan, args.host.address)

    def configure(self, claimed: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """HAProxy with its configuration; the last step. Not before `claimed` exist, every new node's first user:
        until then nothing leads to a node.
        """
        plan, stats = self._args.plan, self._args.plan.settings.stats
        login = pulumi.Output.secret(f"{stats.user}\n{stats.password.get_secret_value()}\n")
        self._on.step(
            Step(
                "ready",
                render.host_ready(),
                text=render.authorized_keys(plan.settings),
                depends_on=[self._args.host.reachable],
            )
        )
        self._on.step(Step("install", render.haproxy_install()))
        self._on.step(self._certificate)
        self._on.step(Step("stats-login", render.haproxy_stats_login(), text=login))
        text = once_there(claimed, self._args.haproxy_config)
        return self._on.step(Step("configure", render.haproxy_configure(), text=text))

    def prove(self, media: MediaNodes) -> None:
        """Exists only when every listener has answered and the cluster is whole."""
        args, plan = self._args, self._args.plan
        if store := args.certificate_store:
            text = pulumi.Output.concat(
                *host_files.certificate_settings(plan.settings, args.host.address, store.secret_id)
            )
            self._on.step(Step("certbot", render.acme_certificate(), text=text, depends_on=args.dns.records))
        self._on.step(
            Step(
                "verify",
                render.haproxy_verify(plan),
                text=administrator(plan) if plan.forms_cluster else None,
                triggers=[
                    hashlib.sha256(args.haproxy_config.encode()).hexdigest(),
                    self._certificate.text,
                    *media.instance_ids.values(),
                ],
                depends_on=list(media.serving.values()),
            )
        )
        self.register_outputs({})


def _certificate_step(plan: ClusterPlan, address: pulumi.Input[str]) -> Step:
    """The certificate that HAProxy starts with: one small strategy for each mode."""
    tls = plan.settings.tls
    names = pulumi.Output.concat(*(part for name in plan.settings.names or (address,) for part in (name, "\n")))
    match tls.mode:
        case TlsMode.PROVIDED if provided := host_files.provided_certificate(plan.settings):
            return Step("certificate", render.provided_certificate(), text=pulumi.Output.secret(provided.text))
        case TlsMode.LETSENCRYPT:
            return Step("certificate", render.self_signed_certificate(placeholder=True), text=names)
        case _:
            # With tls.mode none, only the statistics page uses it.
            return Step("certificate", render.self_signed_certificate(placeholder=False), text=names)
