"""The resolver on 169.254.169.253 for the hosts and for everybody on the lab's internet.

It answers from what exists at that moment, in this order: names set by hand, the account's Route 53 zones, EC2's own
names of private addresses, the package archive, and every other name under `.test`, which is the one Elastic IP in
use: the load balancer, whose address nobody knows before it exists. Everything else does not exist.
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

from lab import layout

ANSWER_SECONDS = 1
"""How long an answer may be kept: a name follows an Elastic IP at once."""
_UDP_BYTES = 512

Resolve = Callable[[str], "list[str] | None"]


@dataclass(frozen=True)
class Names:
    """What names there are. `zones` is the lookup in the account's zones."""

    by_hand: Mapping[str, str]
    zones: Resolve
    elastic: Collection[str]
    archive_hosts: Collection[str]

    def resolve(self, name: str) -> list[str] | None:
        """The IPv4 addresses of a name in lower case without the last dot; None if there is no such name."""
        if name in self.by_hand:
            return [self.by_hand[name]]
        from_zones = self.zones(name)
        if from_zones is not None:
            return from_zones
        if name in self.archive_hosts:
            return [layout.ARCHIVE_ADDRESS]
        if found := re.fullmatch(r"ip-(\d+)-(\d+)-(\d+)-(\d+)\.ec2\.internal", name):
            with contextlib.suppress(ValueError):
                return [str(ipaddress.IPv4Address(".".join(found.groups())))]
        if name.endswith(".test") and len(self.elastic) == 1:
            return list(self.elastic)
        return None


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
    addresses = resolve(name)
    if addresses is None:
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
    elif asked.q.qtype in (dnslib.QTYPE.A, dnslib.QTYPE.ANY):
        for address in addresses:
            reply.add_answer(dnslib.RR(asked.q.qname, dnslib.QTYPE.A, ttl=ANSWER_SECONDS, rdata=dnslib.A(address)))
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
