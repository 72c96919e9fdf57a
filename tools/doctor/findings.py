"""What was seen from outside becomes findings: passed, failed with what to do, or not checked with why. Pure."""

from __future__ import annotations

import enum
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from cluster import database, firewall, haproxy
from cluster.firewall import Direction, Group, Peer
from cluster.plan import ClusterPlan
from cluster.settings import ClearHttp, TlsMode

FEW_DAYS: Final = 14
"""certbot renews a certificate long before."""
SKEW_SECONDS: Final = 5.0


class Result(enum.StrEnum):
    """Of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """`remedy` says what to do about a failure; it is empty otherwise."""

    check: str
    result: Result
    saw: str
    remedy: str = ""


@dataclass(frozen=True)
class Target:
    """What is to be looked at, decided by the plan and the stack's outputs."""

    address: str
    names: tuple[str, ...]
    app: str
    tls: TlsMode
    redirects: bool
    open_ports: tuple[int, ...]
    """The load balancer's, for the whole internet."""
    admin_ports: tuple[int, ...]
    closed: tuple[tuple[str, str, int], ...]
    """Node name, public address and port of what nobody on the internet may reach."""

    @property
    def host(self) -> str:
        return self.names[0] if self.names else self.address


def target(plan: ClusterPlan, outputs: Mapping[str, Any]) -> Target:
    """Of a deployed stack. `outputs` are its outputs."""
    inside = [rule.row for rule in firewall.rules(plan) if rule.row.direction is Direction.INGRESS]

    def ports(group: Group, peer: Peer) -> tuple[int, ...]:
        rows = (row for row in inside if row.group is group and row.peer is peer and row.ports.protocol == "tcp")
        return tuple(sorted({row.ports.first for row in rows}))

    balancer = ports(Group.LOAD_BALANCER, Peer.ANYWHERE)
    own = {Group.LOAD_BALANCER: (firewall.AMS_ORIGIN, database.PORT, haproxy.METRICS_PORT, haproxy.ACME_PORT)}
    own[Group.MEDIA] = (firewall.SSH, firewall.RTMP, firewall.AMS_HTTP, firewall.AMS_ORIGIN)
    groups = {"lb": Group.LOAD_BALANCER, "origin": Group.MEDIA, "edge": Group.MEDIA}
    return Target(
        address=outputs["loadBalancerAddress"],
        names=tuple(plan.settings.names),
        app=plan.first_app,
        tls=plan.settings.tls.mode,
        redirects=haproxy.load_balancer(plan).clear is ClearHttp.REDIRECT,
        open_ports=balancer,
        admin_ports=ports(Group.LOAD_BALANCER, Peer.ADMIN),
        closed=tuple(
            (name, node["publicAddress"], port)
            for name, node in outputs["nodes"].items()
            if node["role"] in groups and node["publicAddress"]
            for port in own[groups[node["role"]]]
        ),
    )


def _judged(check: str, fault: bool, saw: str, remedy: str) -> Finding:
    return Finding(check, Result.FAILED if fault else Result.PASSED, saw, remedy if fault else "")


def dns(name: str, found: Sequence[str], address: str) -> Finding:
    """`found` are the IPv4 addresses that the name has."""
    return _judged(
        f"DNS of {name}",
        list(found) != [address],
        ", ".join(found) or "the name has no address",
        f"Set the record: {name} A {address}, and no other A record (output dnsRecordToSet; with dns.zone: pulumi up).",
    )


def port_open(port: int, outcome: str, *, admin: bool) -> Finding:
    """`outcome` is `open`, or what connecting ended with."""
    who = "adminCidrs" if admin else "everybody"
    remedy = f"The security group of the load balancer is to let {who} in on port {port}: pulumi up --refresh"
    if admin:
        remedy = f"Is the address that this machine has on the internet in adminCidrs? If it is: {remedy}"
    if outcome == "refused":
        remedy = "Nothing listens there: make status shows whether HAProxy runs."
    return _judged(f"port {port} is open to {who}", outcome != "open", outcome, remedy)


def port_closed(node: str, port: int, outcome: str) -> Finding:
    """Any outcome but `open` is well."""
    return _judged(
        f"port {port} of {node} is closed",
        outcome == "open",
        outcome,
        "A rule was added by hand, or this machine is inside: pulumi refresh shows it, pulumi up takes it away.",
    )


def certificate(name: str, port: int, seen: Mapping[str, Any] | str, mode: TlsMode, now: datetime) -> Finding:
    """`seen` is what Python's ssl says of a certificate that it trusts, or why it does not."""
    check = f"certificate of {name} on port {port}"
    if isinstance(seen, str):
        if mode is TlsMode.SELF_SIGNED and "self-signed" in seen:
            return Finding(check, Result.NOT_CHECKED, "tls.mode is self-signed: no chain can be trusted")
        return _judged(
            check,
            True,
            seen,
            "make status shows which certificate is there. With letsencrypt a self-signed one is served until the "
            "names lead here: /var/lib/antmedia-certificate/status on lb-1 says what it waits for.",
        )
    days = int((ssl.cert_time_to_seconds(seen["notAfter"]) - now.timestamp()) // 86400)
    return _judged(
        check,
        days < FEW_DAYS,
        f"trusted, {days} days left",
        "The renewal fails: systemctl status antmedia-certificate on lb-1; one of your own: set tls.chain and tls.key.",
    )


def redirect(name: str, status: int | str, location: str) -> Finding:
    """Of a request for http://NAME/."""
    good = status in (301, 302, 307, 308) and location.startswith(f"https://{name}")
    return _judged(
        f"http://{name} leads to https", not good, f"{status} {location}".strip(), "make status: does HAProxy run?"
    )


def served(name: str, status: int | str) -> Finding:
    """Of a request for a stream's playlist that nobody publishes: a node is to say that it is not there."""
    return _judged(
        f"a node answers {name}",
        status not in (200, 404),
        str(status),
        "No media node takes requests: make status shows their states; a host that died: make repair NODE=…",
    )


def web_socket(name: str, status: int | str) -> Finding:
    """Of the upgrade."""
    return _judged(
        f"WebSocket handshake with {name}", status != 101, str(status), "make status: is an origin or edge up?"
    )


def rtmp(where: str, answer: bytes | str, sent: bytes) -> Finding:
    """`answer` is S0, S1 and S2; `sent` is C1, which S2 returns."""
    if isinstance(answer, str):
        saw = answer
    elif len(answer) < 1 + 2 * 1536:
        saw = f"{len(answer)} bytes instead of S0, S1 and S2"
    elif answer[0] != 3:
        saw = f"version {answer[0]} instead of 3"
    elif answer[1537 + 8 :] != sent[8:]:
        saw = "S2 does not return C1"
    else:
        return Finding(f"RTMP handshake by {where}", Result.PASSED, "S0, S1 and S2")
    return Finding(f"RTMP handshake by {where}", Result.FAILED, saw, "make status: is an origin or edge up?")


def clock(date: str | None, now: datetime) -> Finding:
    """`date` is the Date header of an answer that arrived `now`."""
    check = "clocks agree"
    try:
        skew = (now - parsedate_to_datetime(date or "")).total_seconds()
    except (ValueError, TypeError):
        return Finding(check, Result.NOT_CHECKED, "no answer with a Date header")
    return _judged(
        check,
        abs(skew) > SKEW_SECONDS + 1,  # the header has whole seconds
        f"{skew:+.0f} s",
        "Compare date -u here and, by make ssh, on the nodes: tokens and certificates depend on it.",
    )


def exit_code(findings: Sequence[Finding]) -> int:
    """0 when nothing failed, 2 otherwise."""
    return 2 if any(finding.result is Result.FAILED for finding in findings) else 0


def line(finding: Finding) -> str:
    """For a screen."""
    mark = {Result.PASSED: "ok  ", Result.FAILED: "FAIL", Result.NOT_CHECKED: "?   "}[finding.result]
    detail = f"not checked: {finding.saw}" if finding.result is Result.NOT_CHECKED else finding.saw
    return f"{mark}  {finding.check}: {detail}" + (f"\n      to do: {finding.remedy}" if finding.remedy else "")
