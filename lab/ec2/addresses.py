"""Public addresses of the lab, handed out from 198.51.100.0/24 (TEST-NET-2, RFC 5737: never anybody's real address)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable

PUBLIC_NETWORK = ipaddress.IPv4Network("198.51.100.0/24")


class AddressesExhaustedError(Exception):
    """Every address of the public network is in use."""


class AddressPool:
    """Hands out addresses of a network in turn, so that one just freed is the last to come back.

    An address that changes its meaning at once is hard to tell from one that never changed; on EC2 it hardly happens.
    """

    def __init__(self, network: ipaddress.IPv4Network = PUBLIC_NETWORK) -> None:
        self.network = network
        self._next = 1

    def take(self, in_use: Iterable[str]) -> str:
        """The next free address.

        Raises AddressesExhaustedError, naming the network, when all of them are in use.
        """
        taken: Collection[str] = frozenset(in_use)
        hosts = self.network.num_addresses - 2
        for step in range(hosts):
            offset = (self._next - 1 + step) % hosts + 1
            address = str(self.network[offset])
            if address not in taken:
                self._next = offset % hosts + 1
                return address
        raise AddressesExhaustedError(
            f"All {hosts} public addresses of {self.network} are in use: release Elastic IPs or stop instances."
        )
