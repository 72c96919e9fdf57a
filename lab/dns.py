"""The resolver on 169.254.169.253 for the hosts and for everybody on the lab's internet.

It answers from what exists at that moment, in this order: names set by hand, the lab's own services (the ACME server,
AWS's endpoints, the package archives), the account's Route 53 zones, EC2's own names of private addresses, and every
other name under `.test`, which is the one Elastic IP in use: the load balancer, whose address nobody knows before it
exists. Everything else does not exist; in a zone, too, what the zone does not have.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import dnslib  # type: ignore[import-untyped]

from lab import aws_endpoints, layout
from lab.ec2.model import AddressRecords

ANSWER_SECONDS = 1
"""How long an answer may be kept if no zone says so: a name follows an Elastic IP at once."""
_UDP_BYTES = 512

Resolve = Callable[[str], AddressRecords | None]


@dataclass(frozen=True)
class Names:
    """What names there are. `by_hand` has None for a name that shall not exist; `zones` looks into the account's zones,
    and gives None for a name that is in none of them."""

    by_hand: Mapping[str, str | None]
    zones: Resolve
    elastic: Collection[str]
    archive_hosts: Collection[str]

    def resolve(self, name: str) -> AddressRecords | None:
        """What there is of a name in lower case without the last dot; None if there is no such name."""
        if name in self.by_hand:
            return _here(self.by_hand[name])
        if own := self._own(name):
            return _here(own)
        from_zones = self.zones(name)
        if from_zones is not None:
            return from_zones if from_zones.exists else None
        if found := re.fullmatch(r"ip-(\d+)-(\d+)-(\d+)-(\d+)\.ec2\.internal", name):
            with contextlib.suppress(ValueError):
                return _here(str(ipaddress.IPv4Address(".".join(found.groups()))))
        if name.endswith(".test") and len(self.elastic) == 1:
            return _here(*self.elastic)
        return None

    def _own(self, name: str) -> str | None:
        if name == layout.ACME_NAME:
            return layout.ACME_ADDRESS
        if name == layout.PACKAGES_NAME or name in self.archive_hosts:
            return layout.ARCHIVE_ADDRESS
        return layout.AWS_ADDRESS if aws_endpoints.is_endpoint(name) else None


def _here(address: str | None) -> AddressRecords | None:
    return None if address is None else AddressRecords((address,), ANSWER_SECONDS)


def answer(question: bytes, resolve: Resolve, size_limit: int | None = None) -> bytes | None:
    """The response to a DNS message, cut to `size_limit` bytes with the truncation bit set; None if it is not one."""
    try:
        asked = dnslib.DNSRecord.parse(question)
    except dnslib.DNSError:
        return None
    if asked.header.qr or len(asked.questions) != 1:
        return None
    reply = asked.reply(ra=1, aa=0)
    name = str(asked.q.qname).rstrip(".").lower()
    found = resolve(name)
    if found is None:
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
    elif asked.q.qtype in (dnslib.QTYPE.A, dnslib.QTYPE.ANY):
        for address in found.addresses:
            reply.add_answer(dnslib.RR(asked.q.qname, dnslib.QTYPE.A, ttl=found.ttl_seconds, rdata=dnslib.A(address)))
    packed: bytes = reply.pack()
    if size_limit is not None and len(packed) > size_limit:
        packed = reply.truncate().pack()
    return packed


def serve(datagrams: socket.socket, listening: socket.socket, resolve: Resolve) -> None:
    """Answers on a bound UDP and a listening TCP socket from now on."""

    def over_udp() -> None:
        while True:
            question, asker = datagrams.recvfrom(4096)
            reply = answer(question, resolve, _UDP_BYTES)
            if reply is not None:
                with contextlib.suppress(OSError):
                    datagrams.sendto(reply, asker)

    class OverTcp(socketserver.StreamRequestHandler):
        timeout = 10

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while len(length := self.rfile.read(2)) == 2:
                    reply = answer(self.rfile.read(int.from_bytes(length, "big")), resolve)
                    if reply is None:
                        return
                    self.wfile.write(len(reply).to_bytes(2, "big") + reply)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    server = Server(listening.getsockname(), OverTcp, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    threading.Thread(target=over_udp, name="dns udp", daemon=True).start()
    threading.Thread(target=server.serve_forever, name="dns tcp", daemon=True).start()
