"""What a stack tells the person who deployed it, and other programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from cluster import firewall, haproxy
from cluster.plan import ClusterPlan
from cluster.stack_page import PAGE, stack_page


def stack_outputs(
    plan: ClusterPlan,
    address: pulumi.Output[str],
    media_addresses: Mapping[str, pulumi.Output[str]],
    dashboard_url: str | None,
) -> dict[str, Any]:
    """The outputs by name. `address` is the load balancer's public one; the nodes' are keyed by node name."""
    settings, app = plan.settings, plan.first_app
    name = pulumi.Output.from_input(settings.domain or address)
    scheme = "s" if plan.serves_tls else ""
    records = [pulumi.Output.concat(public, " A ", address) for public in settings.names]
    outputs: dict[str, Any] = {
        "stack": plan.stack,
        "url": pulumi.Output.concat(f"http{scheme}://", name),
        "rtmpUrl": pulumi.Output.concat("rtmp://", name, f"/{app}"),
        "rtmpsUrl": pulumi.Output.concat("rtmps://", name, f":{firewall.HTTPS}/{app}") if plan.serves_tls else None,
        "hlsUrl": pulumi.Output.concat(f"http{scheme}://", name, f"/{app}/streams"),
        "webSocketUrl": pulumi.Output.concat(f"ws{scheme}://", name, f"/{app}/websocket"),
        "statsUrl": pulumi.Output.concat("https://", name, f":{firewall.STATS}{haproxy.STATS_PATH}"),
        "dashboardUrl": dashboard_url,
        "loadBalancerAddress": address,
        "dnsRecordToSet": records if records and settings.dns.zone is None else None,
        "certificate": {"mode": settings.tls.mode.value, "names": list(settings.names) or [address]},
        "nodes": {
            node.name: {
                "role": node.role.value,
                "privateAddress": str(node.address),
                "publicAddress": address if node is plan.load_balancer else media_addresses.get(node.name),
            }
            for node in plan.nodes
        },
    }
    page = PAGE.read_text()
    readme = pulumi.Output.all(**outputs).apply(lambda known: stack_page(page, known))
    return {**outputs, "readme": readme}
