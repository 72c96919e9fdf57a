"""Route 53."""

from __future__ import annotations

from typing import Any

from lab.ec2 import backend  # noqa: F401  (moto's settings come first)


def zone_with_a_vpc_is_private() -> None:
    """A hosted zone made with a VPC is private.

    Stock: only if the request also says PrivateZone, which the provider does not (on AWS it need not). Without this a
    private zone is public and loses its VPC: every preview wants to replace it.
    """
    from moto.route53.responses import Route53

    stock_get = Route53._get_bool_param

    def get(self: Any, param_name: str, default: bool | None = None) -> bool | None:
        if param_name == "HostedZoneConfig.PrivateZone" and self._get_param("VPC.VPCId"):
            return True
        return stock_get(self, param_name, default)

    Route53._get_bool_param = get  # type: ignore[method-assign,assignment]


PATCHES = (zone_with_a_vpc_is_private,)
