"""The program's table of contents: settings -> plan -> components -> outputs."""

from __future__ import annotations

import pulumi

from cluster.plan import plan
from cluster.render import haproxy_cfg
from cluster.rollout import rollout
from components import garbage, sdk_debug
from components.certificate_store import CertificateStore, CertificateStoreArgs
from components.config import load_settings
from components.database import Database, DatabaseArgs
from components.dns import Dns, DnsArgs
from components.firewall import Firewall, FirewallArgs
from components.load_balancer import LoadBalancer, LoadBalancerArgs, LoadBalancerHost, LoadBalancerHostArgs
from components.media import MediaNodes, MediaNodesArgs, present_addresses
from components.monitoring import Monitoring, MonitoringArgs
from components.network import Network, NetworkArgs, availability_zones
from components.outputs import stack_outputs

garbage.collect_rarely()
sdk_debug.leave_out()
settings = load_settings()
cluster = plan(settings, project=pulumi.get_project(), stack=pulumi.get_stack())
# Here, since a load balancer that cannot be is refused before anything is registered.
haproxy_config = haproxy_cfg(cluster)

zone_names = availability_zones(len(cluster.zones))
order = rollout(cluster, present_addresses(cluster))

network = Network("network", NetworkArgs(plan=cluster, zone_names=zone_names))
firewall = Firewall("firewall", FirewallArgs(plan=cluster, vpc_id=network.vpc_id))
dns = Dns("dns", DnsArgs(plan=cluster))
store = (
    CertificateStore("certificate-store", CertificateStoreArgs(plan=cluster)) if cluster.orders_certificates else None
)
entrance = LoadBalancerHost(
    "load-balancer-host",
    LoadBalancerHostArgs(
        plan=cluster,
        dns=dns,
        certificate_store=store,
        subnet_ids=network.subnet_ids,
        security_group_ids=firewall.group_ids,
    ),
    pulumi.ResourceOptions(depends_on=[network, firewall]),
)
database_ready: list[pulumi.Resource] = []
database = None
if cluster.database:
    database = Database(
        "database",
        DatabaseArgs(
            plan=cluster,
            node=cluster.database,
            zone_names=zone_names,
            subnet_ids=network.subnet_ids,
            security_group_ids=firewall.group_ids,
            through=entrance.address,
            reachable=[entrance.reachable],
        ),
        pulumi.ResourceOptions(depends_on=[network, firewall]),
    )
    database_ready.append(database.ready)
media = MediaNodes(
    "media",
    MediaNodesArgs(
        plan=cluster,
        subnet_ids=network.subnet_ids,
        security_group_ids=firewall.group_ids,
        balancer=entrance.remote,
        through=entrance.address,
        entrance=entrance.reachable,
        address=dns.elastic_ip,
        reachable=database_ready,
    ),
    pulumi.ResourceOptions(depends_on=[network, firewall]),
)
balancer = LoadBalancer(
    "load-balancer",
    LoadBalancerArgs(
        plan=cluster,
        haproxy_config=haproxy_config,
        host=entrance,
        dns=dns,
        certificate_store=store,
    ),
)

media.roll_out(order, balancer.configure)
if database:
    database.retire(list(media.serving.values()))
balancer.prove(media)
monitoring = Monitoring(
    "monitoring",
    MonitoringArgs(
        plan=cluster,
        instance_ids={
            cluster.load_balancer.name: entrance.instance.id,
            **media.instance_ids,
            **(database.instance_ids if database else {}),
        },
        balancer=entrance.remote,
        database=database.remote if database else None,
    ),
)

for name, value in stack_outputs(cluster, dns.address, media.public_addresses, monitoring.dashboard_url).items():
    pulumi.export(name, value)
