"""The HAProxy host: its instance, its Elastic IP, and what is put onto it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from cluster import firewall, haproxy, render
from cluster.cloud_init import LOGIN_USER
from cluster.firewall import Group
from cluster.plan import ClusterPlan
from components.host import instance
from components.media import MediaNodes
from components.remote import RemoteHost, RemoteHostArgs, Step


@dataclass(frozen=True)
class LoadBalancerArgs:
    """What the load balancer is made from. Ids are keyed by zone name, group and node name."""

    plan: ClusterPlan
    subnet_ids: Mapping[str, pulumi.Input[str]]
    security_group_ids: Mapping[Group, pulumi.Input[str]]
    media_instance_ids: Mapping[str, pulumi.Input[str]]


class LoadBalancer(pulumi.ComponentResource):
    """HAProxy on one instance, with an Elastic IP that outlives it. Exists only when every listener has answered."""

    address: pulumi.Output[str]
    """The public one."""

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:loadbalancer:LoadBalancer", name, None, opts)
        plan, node = args.plan, args.plan.load_balancer
        self._plan = plan

        host = instance(
            plan,
            node,
            group=Group.LOAD_BALANCER,
            subnet_ids=args.subnet_ids,
            security_group_ids=args.security_group_ids,
            opts=pulumi.ResourceOptions(parent=self),
        )
        elastic_ip = aws.ec2.Eip(
            node.name,
            domain="vpc",
            instance=host.id,
            tags=plan.tags(Group.LOAD_BALANCER.value, node.name),
            opts=pulumi.ResourceOptions(parent=self),
        )
        # The Elastic IP's own attribute: the instance's would still be the one it had before.
        self.address = elastic_ip.public_ip

        settings = plan.settings
        certificate_names = pulumi.Output.concat(settings.domain or elastic_ip.public_ip, "\n")
        login = pulumi.Output.secret(f"{settings.stats.user}\n{settings.stats.password.get_secret_value()}\n")
        config = render.haproxy_cfg(plan)
        RemoteHost(
            node.name,
            RemoteHostArgs(
                address=elastic_ip.public_ip,
                user=LOGIN_USER,
                private_key=pulumi.Output.secret(settings.ssh.private_key.get_secret_value()),
                host_public_key=settings.ssh.host_public_key,
                instance=host,
                steps=[
                    Step("ready", render.host_ready()),
                    Step("install", render.haproxy_install()),
                    Step("certificate", render.haproxy_certificate(), text=certificate_names),
                    Step("stats-login", render.haproxy_stats_login(), text=login),
                    Step("configure", render.haproxy_configure(), text=config),
                    Step(
                        "verify",
                        render.haproxy_verify(plan),
                        triggers=[
                            hashlib.sha256(config.encode()).hexdigest(),
                            certificate_names,
                            *args.media_instance_ids.values(),
                        ],
                    ),
                ],
            ),
            pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"address": self.address})

    def outputs(self, media: MediaNodes) -> dict[str, Any]:
        """The stack's outputs, by name."""
        plan, settings = self._plan, self._plan.settings
        name = pulumi.Output.from_input(settings.domain or self.address)
        app = plan.first_app
        return {
            "url": pulumi.Output.concat("https://", name),
            "rtmpUrl": pulumi.Output.concat("rtmp://", name, f"/{app}"),
            "webSocketUrl": pulumi.Output.concat("wss://", name, f"/{app}/websocket"),
            "statsUrl": pulumi.Output.concat("https://", name, f":{firewall.STATS}{haproxy.STATS_PATH}"),
            "loadBalancerAddress": self.address,
            "dnsRecordToSet": pulumi.Output.concat(settings.domain, " A ", self.address) if settings.domain else None,
            "certificate": {"mode": settings.tls.mode, "names": [name]},
            "nodes": {
                node.name: {
                    "role": node.role.value,
                    "privateAddress": str(node.address),
                    "publicAddress": self.address if node is plan.load_balancer else media.public_addresses[node.name],
                }
                for node in plan.nodes
            },
        }
