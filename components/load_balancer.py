"""The HAProxy host: its instance, its Elastic IP, and what is put onto it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from cluster import render
from cluster.cloud_init import LOGIN_USER
from cluster.firewall import Group
from cluster.plan import ClusterPlan
from cluster.settings import TlsMode
from components.certificate_store import CertificateStore
from components.dns import Dns
from components.host import instance
from components.remote import RemoteHost, RemoteHostArgs, Step


@dataclass(frozen=True)
class LoadBalancerArgs:
    """What the load balancer is made from. Ids are keyed by zone name, group and node name."""

    plan: ClusterPlan
    haproxy_config: str
    """haproxy.cfg, complete."""
    dns: Dns
    certificate_store: CertificateStore | None
    """None where the plan orders no certificate."""
    subnet_ids: Mapping[str, pulumi.Input[str]]
    security_group_ids: Mapping[Group, pulumi.Input[str]]
    media_instance_ids: Mapping[str, pulumi.Input[str]]


class LoadBalancer(pulumi.ComponentResource):
    """HAProxy on one instance. Exists only when every listener has answered."""

    association: pulumi.Resource
    """The load balancer is reachable, also as the way to other hosts, from here on."""

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:loadbalancer:LoadBalancer", name, None, opts)
        plan, node = args.plan, args.plan.load_balancer
        own = pulumi.ResourceOptions(parent=self)
        settings, address = plan.settings, args.dns.address

        store = args.certificate_store
        host = instance(
            plan,
            node,
            group=Group.LOAD_BALANCER,
            subnet_ids=args.subnet_ids,
            security_group_ids=args.security_group_ids,
            instance_profile=store.instance_profile if store else None,
            opts=own,
        )
        association = aws.ec2.EipAssociation(
            node.name, allocation_id=args.dns.allocation_id, instance_id=host.id, opts=own
        )
        self.association = association

        login = pulumi.Output.secret(f"{settings.stats.user}\n{settings.stats.password.get_secret_value()}\n")
        administrator = pulumi.Output.secret(
            f"{settings.administrator.email}\n{settings.administrator.password.get_secret_value()}\n"
        )
        certificate = _certificate_step(plan, address)
        steps = [
            Step("ready", render.host_ready(), depends_on=[association]),
            Step("install", render.haproxy_install()),
            certificate,
            Step("stats-login", render.haproxy_stats_login(), text=login),
            # Before a configuration that leads to the nodes.
            Step(
                "administrator",
                render.first_administrator(plan),
                text=administrator,
                triggers=list(args.media_instance_ids.values()),
            ),
            Step("configure", render.haproxy_configure(), text=args.haproxy_config),
        ]
        if store:
            text = pulumi.Output.concat(
                render.acme_settings(settings), "address=", address, "\nstore=", store.secret_id, "\n"
            )
            steps.append(Step("certbot", render.acme_certificate(), text=text, depends_on=args.dns.records))
        steps.append(
            Step(
                "verify",
                render.haproxy_verify(plan),
                triggers=[
                    hashlib.sha256(args.haproxy_config.encode()).hexdigest(),
                    certificate.text,
                    *args.media_instance_ids.values(),
                ],
            )
        )
        RemoteHost(
            node.name,
            RemoteHostArgs(
                address=address,
                user=LOGIN_USER,
                private_key=pulumi.Output.secret(settings.ssh.private_key.get_secret_value()),
                host_public_key=settings.ssh.host_public_key,
                instance=host,
                steps=steps,
            ),
            pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _certificate_step(plan: ClusterPlan, address: pulumi.Input[str]) -> Step:
    """The certificate that HAProxy starts with: one small strategy for each mode."""
    tls = plan.settings.tls
    names = pulumi.Output.concat(*(part for name in plan.settings.names or (address,) for part in (name, "\n")))
    match tls.mode:
        case TlsMode.PROVIDED if tls.chain and tls.key:
            text = pulumi.Output.secret(f"{tls.chain.get_secret_value()}\n{tls.key.get_secret_value()}\n")
            return Step("certificate", render.provided_certificate(), text=text)
        case TlsMode.LETSENCRYPT:
            return Step("certificate", render.self_signed_certificate(placeholder=True), text=names)
        case _:
            # With tls.mode none, only the statistics page uses it.
            return Step("certificate", render.self_signed_certificate(placeholder=False), text=names)
