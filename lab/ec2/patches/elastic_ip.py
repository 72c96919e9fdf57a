"""Public addresses: Elastic IPs and those given to instances at launch."""

from __future__ import annotations

from typing import Any

from lab.ec2 import addresses, backend


def public_addresses_from_the_lab_network() -> None:
    """Public addresses come from 198.51.100.0/24, each in use once.

    Stock: Elastic IPs from 127.0.0.0/8 and instance addresses at random from a range of Amazon's. Without this the
    engine would connect to this machine itself or, outside the lab's namespace, to somebody's real machine.
    """
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models import elastic_ip_addresses, elastic_network_interfaces

    pool = addresses.AddressPool()

    def in_use() -> set[str]:
        ec2 = backend.service("ec2")
        found = {address.public_ip for address in ec2.addresses}
        return found | {interface.public_ip for interface in ec2.enis.values() if interface.public_ip}

    def take() -> str:
        try:
            return pool.take(in_use())
        except addresses.AddressesExhaustedError as error:
            raise EC2ClientError("AddressLimitExceeded", str(error)) from error

    elastic_ip_addresses.random_ip = take  # type: ignore[attr-defined]
    elastic_network_interfaces.random_public_ip = take  # type: ignore[attr-defined]


def elastic_ip_stays_through_stop_and_start() -> None:
    """An instance with an Elastic IP keeps it while it is stopped and when it starts again.

    Stock: it loses it when stopped and gets a new automatic address at start, though the association stays: the Elastic
    IP leads nowhere. On EC2 an Elastic IP stays associated. Without this a stop and start behind the program's back
    shows as a change of the public address.
    """
    from moto.ec2.models.elastic_network_interfaces import NetworkInterface

    stock_start, stock_stop = NetworkInterface.start, NetworkInterface.stop

    def associated(self: Any) -> str | None:
        return next((address.public_ip for address in self.ec2_backend.addresses if address.eni is self), None)

    def start(self: Any) -> None:
        elastic = associated(self)
        if elastic:
            self.public_ip = elastic
        else:
            stock_start(self)

    def stop(self: Any) -> None:
        if not associated(self):
            stock_stop(self)

    NetworkInterface.start = start  # type: ignore[method-assign]
    NetworkInterface.stop = stop  # type: ignore[method-assign]


def elastic_ip_moves_whole() -> None:
    """An Elastic IP associated anew leaves its old interface, and an interface has one Elastic IP at a time.

    Stock: the old interface goes on showing the address, so two hosts claim it, and an address displaced by another
    still says that it is associated.
    """
    from moto.ec2.models import EC2Backend

    stock_associate = EC2Backend.associate_address

    def associate_address(
        self: Any,
        instance: Any = None,
        eni: Any = None,
        address: str | None = None,
        allocation_id: str | None = None,
        reassociate: bool = False,
    ) -> Any:
        found = self.address_by_ip([address]) if address else self.address_by_allocation([allocation_id])
        moving = found[0]
        before, after = moving.eni, eni or (instance.nics[0] if instance else None)
        result = stock_associate(self, instance, eni, address, allocation_id, reassociate)
        if before is not None and before is not after:
            before.public_ip = None
            if before.instance is not None and before.instance.state == "running":
                before.check_auto_public_ip()
        for other in self.addresses:
            if other is not moving and other.eni is not None and other.eni is after:
                other.eni = other.instance = other.association_id = None
        return result

    EC2Backend.associate_address = associate_address  # type: ignore[method-assign]


PATCHES = (
    public_addresses_from_the_lab_network,
    elastic_ip_stays_through_stop_and_start,
    elastic_ip_moves_whole,
)
