"""What a viewer, a publisher, an administrator and a stranger see of a deployment."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

from cluster import firewall, monitoring
from cluster.settings import TlsMode
from tools.doctor import network
from tools.doctor.network import RTMP_PART, RTMP_VERSION, Answer
from tools.doctor.target import Endpoint, Target
from tools.doctor.verdicts import Check, Verdict, failed, judged, not_looked_at

SKEW_SECONDS: Final = 5
_AT_ONCE: Final = 32


def checks(at: Target, authorities: str | None) -> Iterator[Check]:
    """Everything that can be seen. `authorities` is a file with certificates that are trusted besides."""
    tls = at.tls is not TlsMode.NONE
    address, host, port = at.address, at.host, firewall.HTTPS if tls else firewall.HTTP

    for name in at.names:
        yield Check(
            f"{name} leads to {address}", partial(lambda name: dns(name, network.addresses(name), address), name)
        )
    for open_port in at.public_ports:
        yield Check(f"port {open_port} is open", partial(_port, at, open_port, admin=False))
    for open_port in at.admin_ports:
        yield Check(f"port {open_port} is open to adminCidrs", partial(_port, at, open_port, admin=True))
    yield Check("what is between hosts is closed to others", partial(_closed, at))
    if tls:
        for name in at.names or (address,):
            yield Check(f"certificate of {name}", partial(_certificate, at, name, authorities))
    for clear in at.redirecting_ports:
        yield Check(f"http on port {clear} leads to https", partial(_redirect, at, clear))
    page = f"/{at.app}/streams/antmedia-doctor.m3u8"
    yield Check("a media node answers", lambda: served(at.stack, network.request(address, host, port, page, tls=tls)))
    socket = f"/{at.app}/websocket"
    yield Check(
        "a WebSocket opens", lambda: web_socket(at.stack, network.upgrade(address, host, port, socket, tls=tls))
    )
    for rtmp_port, secure in at.rtmp_ports:
        yield Check(
            f"{'RTMPS' if secure else 'RTMP'} on port {rtmp_port} shakes hands", partial(_rtmp, at, rtmp_port, secure)
        )
    first, last = firewall.WEBRTC_MEDIA
    yield Check(
        f"ports {first} to {last} by UDP, for WebRTC",
        lambda: not_looked_at("they answer within a session only: play a stream"),
    )
    yield Check("clocks agree", lambda: clock(network.request(address, host, port, f"/{at.app}/", tls=tls), _now()))


def dns(name: str, found: Sequence[str], address: str) -> Verdict:
    """`found` are the IPv4 addresses that the name has."""
    return judged(
        list(found) == [address],
        ", ".join(found) or "it has no address",
        f"Set the record {name} A {address}, and no other A record; what was there before may be remembered for its "
        "time to live. With dns.zone the program keeps it: is the zone the one that the name's registrar names?",
    )


def port(stack: str, outcome: str, *, admin: bool) -> Verdict:
    """`outcome` is of network.connecting."""
    if outcome == "refused":
        return failed(outcome, f"HAProxy does not listen there. To see why: make status STACK={stack}")
    mine = "Is this machine's address on the internet in adminCidrs? If it is: " if admin else ""
    return judged(
        outcome == "open",
        outcome,
        f"{mine}a firewall between here and there, or a rule that is gone: tools/pulumi preview --refresh -s {stack}",
    )


def closed(stack: str, open_ones: Sequence[Endpoint], tried: int) -> Verdict:
    """`open_ones` of those `tried` took a connection."""
    shown = ", ".join(f"{each.node} ({each.address}) on {each.port}" for each in open_ones)
    return judged(
        not open_ones,
        f"reached: {shown}" if shown else f"{tried} ports tried",
        "Whoever added that rule by hand, this takes it away: tools/pulumi up --refresh -s "
        f"{stack}. Where this machine is in the VPC itself, look from elsewhere.",
    )


def certificate(at: Target, seen: Mapping[str, Any] | str, now: datetime) -> Verdict:
    """`seen` is of network.certificate."""
    if isinstance(seen, str):
        if at.tls is TlsMode.SELF_SIGNED and "self-signed" in seen:
            return not_looked_at("tls.mode is self-signed, so nobody can trust it")
        if at.private_authority and "local issuer" in seen:
            return failed(
                seen, "tls.acmeDirectory is another authority than Let's Encrypt: give its root, ARGS='--ca-file FILE'."
            )
        waits = (
            " Until names lead here, a self-signed one is served. What the load balancer waits for: "
            f'make ssh STACK={at.stack} NODE=lb-1 ARGS="-- cat /var/lib/antmedia-certificate/status"'
        )
        return failed(
            seen,
            f"make status STACK={at.stack} shows the certificate that is served."
            f"{waits if at.tls is TlsMode.LETSENCRYPT else ''}",
        )
    days = int((ssl.cert_time_to_seconds(seen["notAfter"]) - now.timestamp()) // 86400)
    mend = (
        f'Renewing fails: make ssh STACK={at.stack} NODE=lb-1 ARGS="-- systemctl status antmedia-certificate"'
        if at.tls is TlsMode.LETSENCRYPT
        else f"Set tls.chain and tls.key to a new one, then: tools/pulumi up -s {at.stack}"
    )
    return judged(days >= monitoring.CERTIFICATE_DAYS, f"trusted, {days} days left", mend)


def redirect(stack: str, host: str, answer: Answer) -> Verdict:
    """Of a request in the clear."""
    location = answer.headers.get("location", "")
    return judged(
        answer.status in (301, 302, 307, 308) and location.startswith(f"https://{host}"),
        f"{answer.shown} {location}".strip(),
        f"Is that another server? Otherwise: make status STACK={stack}",
    )


def served(stack: str, answer: Answer) -> Verdict:
    """Of a request for a stream that nobody publishes: a node has to say that it is not there."""
    return judged(
        answer.status in (200, 404),
        answer.shown,
        f"No media node takes requests: make status STACK={stack} shows their states, "
        f"and make repair STACK={stack} NODE=… replaces one.",
    )


def web_socket(stack: str, answer: Answer) -> Verdict:
    """101 is what opens it."""
    return judged(
        answer.status == 101,  # Switching Protocols
        answer.shown,
        f"Where everything else passes, something between here and there does not let WebSockets through; "
        f"otherwise: make status STACK={stack}",
    )


def rtmp(stack: str, answer: bytes | str, sent: bytes) -> Verdict:
    """`answer` is S0, S1 and S2; `sent` is C1, which S2 returns."""
    remedy = f"Is an origin up? make status STACK={stack}"
    if isinstance(answer, str):
        return failed(answer, remedy)
    if len(answer) < 1 + 2 * RTMP_PART:
        return failed(f"{len(answer)} bytes instead of S0, S1 and S2", remedy)
    if answer[0] != RTMP_VERSION:
        return failed(f"version {answer[0]} instead of {RTMP_VERSION}", remedy)
    echo = answer[1 + RTMP_PART + 8 :] == sent[8:]
    return judged(echo, "S0, S1 and S2" if echo else "S2 does not return C1", remedy)


def clock(answer: Answer, now: datetime) -> Verdict:
    """By the Date header of an answer that arrived `now`."""
    try:
        there = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return not_looked_at("no answer with a Date header")
    skew = (there - now).total_seconds()
    return judged(
        abs(skew) <= SKEW_SECONDS + 1,  # the header has whole seconds
        f"{skew:+.0f} s there" if abs(skew) > 1 else "to the second",
        "Compare date -u here and, by make ssh, there: tokens, certificates and AWS's signatures depend on it. On EC2 "
        "hosts: chronyc tracking, or timedatectl.",
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _port(at: Target, number: int, *, admin: bool) -> Verdict:
    return port(at.stack, network.connecting(at.address, number), admin=admin)


def _closed(at: Target) -> Verdict:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = pool.map(lambda each: network.connecting(each.address, each.port), at.closed)
        open_ones = [each for each, outcome in zip(at.closed, outcomes, strict=True) if outcome == "open"]
    return closed(at.stack, open_ones, len(at.closed))


def _certificate(at: Target, name: str, authorities: str | None) -> Verdict:
    return certificate(at, network.certificate(at.address, name, firewall.HTTPS, authorities), _now())


def _redirect(at: Target, number: int) -> Verdict:
    return redirect(at.stack, at.host, network.request(at.address, at.host, number, "/", tls=False))


def _rtmp(at: Target, number: int, secure: bool) -> Verdict:
    sent = bytes(8) + os.urandom(RTMP_PART - 8)
    return rtmp(at.stack, network.rtmp(at.address, at.host, number, sent, tls=secure), sent)
