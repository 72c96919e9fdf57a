"""Talks to a deployment from this machine. Each call takes a few seconds at most and raises nothing.

Everything happens in one thread for each connection.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Final

SECONDS: Final = 4.0
RTMP_VERSION: Final = 3
RTMP_PART: Final = 1536
"""Bytes of C1, S1 and S2. Source: Adobe's RTMP specification 1.0, 5.2."""


@dataclass(frozen=True)
class Answer:
    """To a request for a page: its status and headers, or in `error` why there are none."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """By name in lower case."""
    error: str = ""

    @property
    def shown(self) -> str:
        """For a person."""
        return self.error or str(self.status)


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
    except OSError as error:
        return _said(error)
    return "open"


def certificate(address: str, name: str, port: int, authorities: str | None) -> dict[str, Any] | str:
    """What Python's ssl says of a certificate that is trusted and for that name; else why it is not.

    `authorities` is a file with more certificates that are trusted.
    """
    try:
        context = ssl.create_default_context()
        if authorities:
            context.load_verify_locations(authorities)
        with (
            socket.create_connection((address, port), SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=name) as secured,
        ):
            return dict(secured.getpeercert() or {})
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError as error:
        return _said(error)


def request(
    address: str, name: str, port: int, path: str, *, tls: bool, headers: dict[str, str] | None = None
) -> Answer:
    """A GET to that address for that name, whatever certificate it has."""
    connection = http.client.HTTPConnection(name, port, timeout=SECONDS)
    try:
        connection.sock = socket.create_connection((address, port), SECONDS)
        if tls:
            connection.sock = _trusting().wrap_socket(connection.sock, server_hostname=name)
        host = name if port in (80, 443) else f"{name}:{port}"
        connection.request("GET", path, headers={"Host": host, **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()})
    except (OSError, http.client.HTTPException) as error:
        return Answer(error=_said(error))
    finally:
        connection.close()


def upgrade(address: str, name: str, port: int, path: str, *, tls: bool) -> Answer:
    """To the opening handshake of a WebSocket (RFC 6455, 4.1)."""
    key = base64.b64encode(os.urandom(16)).decode()
    wanted = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key,
    }  # fmt: skip
    return request(address, name, port, path, tls=tls, headers=wanted)


def rtmp(address: str, name: str, port: int, sent: bytes, *, tls: bool) -> bytes | str:
    """S0, S1 and S2, in answer to C0 and `sent`, as far as they came; or an error's words."""
    wanted, answer = 1 + 2 * RTMP_PART, b""
    try:
        with socket.create_connection((address, port), SECONDS) as plain:
            connection = _trusting().wrap_socket(plain, server_hostname=name) if tls else plain
            with connection:
                connection.sendall(bytes([RTMP_VERSION]) + sent)
                while len(answer) < wanted and (more := connection.recv(wanted - len(answer))):
                    answer += more
    except OSError as error:
        return answer or _said(error)
    return answer


def _trusting() -> ssl.SSLContext:
    """Chains are the matter of `certificate`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _said(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer"
        case ConnectionRefusedError():
            return "refused"
        case OSError(strerror=str(words)) if words:
            return words
    return str(error) or type(error).__name__
