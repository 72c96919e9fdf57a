"""VPCs, subnets and internet gateways: what AWS refuses to delete while it is used."""

from __future__ import annotations

from typing import Any

from lab.ec2 import backend  # noqa: F401  (moto's settings come first)


def subnet_in_use_is_not_deleted() -> None:
    """DeleteSubnet is refused (DependencyViolation) while an interface is in the subnet.

    Stock deletes it. Without this a program with a wrong order of deletion would work in the lab and hang on AWS.
    """
    from moto.ec2.exceptions import DependencyViolationError
    from moto.ec2.models.subnets import SubnetBackend

    stock_delete = SubnetBackend.delete_subnet

    def delete_subnet(self: Any, subnet_id: str) -> Any:
        if any(interface.subnet.id == subnet_id for interface in self.enis.values()):
            raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
        return stock_delete(self, subnet_id)

    SubnetBackend.delete_subnet = delete_subnet  # type: ignore[method-assign]


def gateway_with_public_addresses_is_not_detached() -> None:
    """DetachInternetGateway is refused (DependencyViolation) while something in the VPC has a public address.

    Stock detaches it. Without this a program that lacks the dependency of its Elastic IP on the gateway would work in
    the lab and hang on AWS.
    """
    from moto.ec2.exceptions import DependencyViolationError
    from moto.ec2.models.internet_gateways import InternetGatewayBackend

    stock_detach = InternetGatewayBackend.detach_internet_gateway

    def detach(self: Any, internet_gateway_id: str, vpc_id: str) -> None:
        if any(interface.public_ip and interface.subnet.vpc_id == vpc_id for interface in self.enis.values()):
            raise DependencyViolationError(
                f"Network {vpc_id} has some mapped public address(es). "
                "Please unmap those public address(es) before detaching the gateway."
            )
        stock_detach(self, internet_gateway_id, vpc_id)

    InternetGatewayBackend.detach_internet_gateway = detach  # type: ignore[method-assign]


def default_network_acl_ends_with_its_vpc() -> None:
    """DeleteVpc deletes the VPC's default network ACL too, as it does its default group and main route table.

    Stock keeps it. Without this, destroy leaves one behind each time.
    """
    from moto.ec2.models.vpcs import VPCBackend

    stock_delete = VPCBackend.delete_vpc

    def delete_vpc(self: Any, vpc_id: str) -> Any:
        vpc = stock_delete(self, vpc_id)
        self.network_acls = {
            acl_id: acl for acl_id, acl in self.network_acls.items() if acl.vpc_id != vpc_id or not acl.default
        }
        return vpc

    VPCBackend.delete_vpc = delete_vpc  # type: ignore[method-assign]


PATCHES = (
    subnet_in_use_is_not_deleted,
    gateway_with_public_addresses_is_not_detached,
    default_network_acl_ends_with_its_vpc,
)
