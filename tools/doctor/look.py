"""Looks at a deployment from this machine: every look takes a few seconds at most, and raises nothing."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from cluster import firewall
from cluster.settings import TlsMode
from tools.doctor import findings
from tools.doctor.findings import Finding, Target

SECONDS: Final = 4.0
_RTMP_BYTES: Final = 1 + 2 * 1536

Check = Callable[[], Finding]


def addresses(name: str) -> list[str]:
    """The IPv4 addresses of a name, sorted; empty where it has none."""
    try:
        return sorted({str(each[4][0]) for each in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)})
    except OSError:
        return []


def connecting(address: str, port: int) -> str:
    """`open`, `refused`, `no answer`, or another error's words."""
    try:
        socket.create_connection((address, port), SECONDS).close()
    except TimeoutError:
        return "no answer"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return error.strerror or str(error)
    return "open"


def certificate(address: str, name: str, port: int) -> dict[str, Any] | str:
    """As findings.certificate takes it. SSL_CERT_FILE adds authorities, as everywhere in Python."""
    try:
        with (
            socket.create_connection((address, port), SECONDS) as connection,
            ssl.create_default_context().wrap_socket(connection, server_hostname=name) as secured,
        ):
            return dict(secured.getpeercert() or {})
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError as error:
        return error.strerror or str(error)


def _trusting() -> ssl.SSLContext:
    """Chains are certificate()'s matter."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def request(
    address: str, name: str, path: str, *, tls: bool, headers: dict[str, str] | None = None
) -> tuple[int | str, http.client.HTTPMessage | dict[str, str]]:
    """Status and headers of a GET to that address for that name; the error's words and nothing where it fails."""
    port = firewall.HTTPS if tls else firewall.HTTP
    connection = http.client.HTTPConnection(name, port, timeout=SECONDS)
    try:
        connection.sock = socket.create_connection((address, port), SECONDS)
        if tls:
            connection.sock = _trusting().wrap_socket(connection.sock, server_hostname=name)
        connection.request("GET", path, headers={"Host": name, **(headers or {})})
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__, {}
    else:
        return answer.status, answer.headers
    finally:
        connection.close()


def rtmp(address: str, name: str, port: int, sent: bytes, *, tls: bool) -> bytes | str:
    """S0, S1 and S2, in answer to C0 and `sent`, as far as they came; or an error's words."""
    answer = b""
    try:
        with socket.create_connection((address, port), SECONDS) as plain:
            connection = _trusting().wrap_socket(plain, server_hostname=name) if tls else plain
            connection.sendall(b"\x03" + sent)
            while len(answer) < _RTMP_BYTES and (more := connection.recv(4096)):
                answer += more
    except OSError as error:
        return answer or error.strerror or str(error)
    return answer


def checks(at: Target) -> Iterator[Check]:
    """Everything to look at, each for itself."""
    tls = at.tls is not TlsMode.NONE
    address, host = at.address, at.host

    def now() -> datetime:
        return datetime.now(UTC)

    for name in at.names:
        yield partial(lambda name: findings.dns(name, addresses(name), address), name)
    for ports, admin in ((at.open_ports, False), (at.admin_ports, True)):
        for port in ports:
            yield partial(
                lambda port, admin: findings.port_open(port, connecting(address, port), admin=admin), port, admin
            )
    for node, public, port in at.closed:
        yield partial(
            lambda node, public, port: findings.port_closed(node, port, connecting(public, port)), node, public, port
        )
    if tls:
        for name in at.names or (address,):
            yield partial(
                lambda name: findings.certificate(
                    name, firewall.HTTPS, certificate(address, name, firewall.HTTPS), at.tls, now()
                ),
                name,
            )
    if at.redirects:
        yield lambda: _redirect(address, host)
    yield lambda: findings.served(host, request(address, host, f"/{at.app}/streams/antmedia-doctor.m3u8", tls=tls)[0])
    yield lambda: findings.web_socket(host, _upgrade(address, host, f"/{at.app}/websocket", tls=tls))
    yield lambda: findings.clock(request(address, host, f"/{at.app}/", tls=tls)[1].get("Date"), now())
    for port, secured in ((firewall.RTMP, False), *(((firewall.RTMPS, True), (firewall.HTTPS, True)) if tls else ())):
        yield partial(_rtmp, address, host, port, secured)


def _redirect(address: str, host: str) -> Finding:
    status, headers = request(address, host, "/", tls=False)
    return findings.redirect(host, status, headers.get("Location") or "")


def _upgrade(address: str, host: str, path: str, *, tls: bool) -> int | str:
    key = base64.b64encode(os.urandom(16)).decode()
    wanted = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key,
    }  # fmt: skip
    return request(address, host, path, tls=tls, headers=wanted)[0]


def _rtmp(address: str, host: str, port: int, tls: bool) -> Finding:
    sent = bytes(8) + os.urandom(1528)
    return findings.rtmp(f"{'RTMPS' if tls else 'RTMP'} on port {port}", rtmp(address, host, port, sent, tls=tls), sent)
