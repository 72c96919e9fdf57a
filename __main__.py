"""The program's table of contents: settings -> plan -> components -> outputs."""

from __future__ import annotations

import pulumi

from cluster.plan import plan
from cluster.render import haproxy_cfg
from components.certificate_store import CertificateStore, CertificateStoreArgs
from components.config import load_settings
from components.database import Database, DatabaseArgs
from components.dns import Dns, DnsArgs
from components.firewall import Firewall, FirewallArgs
from components.load_balancer import LoadBalancer, LoadBalancerArgs
from components.media import MediaNodes, MediaNodesArgs
from components.network import Network, NetworkArgs, availability_zones
from components.outputs import stack_outputs
from components.remote import Proxy

settings = load_settings()
cluster = plan(settings, project=pulumi.get_project(), stack=pulumi.get_stack())
# Here, since a load balancer that cannot be is refused before anything is registered.
haproxy_config = haproxy_cfg(cluster)

zone_names = availability_zones(len(cluster.zones))

network = Network("network", NetworkArgs(plan=cluster, zone_names=zone_names))
firewall = Firewall("firewall", FirewallArgs(plan=cluster, vpc_id=network.vpc_id))
media = MediaNodes(
    "media",
    MediaNodesArgs(plan=cluster, subnet_ids=network.subnet_ids, security_group_ids=firewall.group_ids),
    pulumi.ResourceOptions(depends_on=[network, firewall]),
)
dns = Dns("dns", DnsArgs(plan=cluster))
store = (
    CertificateStore("certificate-store", CertificateStoreArgs(plan=cluster)) if cluster.orders_certificates else None
)
load_balancer = LoadBalancer(
    "load-balancer",
    LoadBalancerArgs(
        plan=cluster,
        haproxy_config=haproxy_config,
        dns=dns,
        certificate_store=store,
        subnet_ids=network.subnet_ids,
        security_group_ids=firewall.group_ids,
        media_instance_ids=media.instance_ids,
    ),
    pulumi.ResourceOptions(depends_on=[network, firewall]),
)

if cluster.database:
    Database(
        "database",
        DatabaseArgs(
            plan=cluster,
            node=cluster.database,
            zone_names=zone_names,
            subnet_ids=network.subnet_ids,
            security_group_ids=firewall.group_ids,
            proxy=Proxy(dns.address, settings.ssh.host_public_key),
            after=[load_balancer.association],
        ),
        pulumi.ResourceOptions(depends_on=[network, firewall]),
    )

for name, value in stack_outputs(cluster, dns.address, media.public_addresses).items():
    pulumi.export(name, value)
