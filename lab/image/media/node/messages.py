"""HTTP as the node speaks it to the nginx in front of it: one request and one response for each connection."""

from __future__ import annotations

import dataclasses
import html
import ipaddress
import json
import urllib.parse

PROXIES = tuple(
    ipaddress.ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "100.64.0.0/10")
)
"""Peers whose X-Forwarded headers are believed: those that RemoteIpValve believes unless it is told otherwise."""

REASONS = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}


@dataclasses.dataclass(frozen=True)
class Request:
    """One HTTP request. `peer` is the address that the connection to the node came from."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    body_bytes: int = 0
    peer: str = ""

    @property
    def path(self) -> str:
        return urllib.parse.urlsplit(self.target).path

    def query(self, name: str) -> str:
        """The first value of a query parameter, or nothing."""
        values = urllib.parse.parse_qs(urllib.parse.urlsplit(self.target).query).get(name, [""])
        return values[0]

    def header(self, name: str) -> str:
        """The first value of a header, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def cookies(self, name: str) -> list[str]:
        """The values of a cookie: a browser sends one for each path that it was given for."""
        pairs = (pair.strip().partition("=") for pair in self.header("Cookie").split(";"))
        return [value for key, _, value in pairs if key == name]

    @property
    def is_for_another_node(self) -> bool:
        """Whether another node asks, for a viewer of its own."""
        return bool(self.header("X-For-Node"))

    @property
    def is_proxied(self) -> bool:
        """Whether the peer is one whose word about the client is taken."""
        return is_proxy(self.peer)

    @property
    def is_secure(self) -> bool:
        """Whether a trusted peer says that the client came over TLS."""
        return self.is_proxied and self.header("X-Forwarded-Proto").lower() == "https"

    @property
    def client(self) -> str:
        """The client's address: the peer's, or the last one that trusted peers name and that is not one of them."""
        if not self.is_proxied:
            return self.peer
        named = [each.strip() for each in self.header("X-Forwarded-For").split(",") if each.strip()]
        foreign = [address for address in named if not is_proxy(address)]
        return foreign[-1] if foreign else (named or [self.peer])[0]


@dataclasses.dataclass(frozen=True)
class Response:
    """One HTTP response; `headers` are those besides the length."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def with_headers(self, *more: tuple[str, str]) -> Response:
        return dataclasses.replace(self, headers=(*self.headers, *more))

    def encode(self, with_body: bool = True) -> bytes:
        """The response as it goes over the wire, for a connection that ends with it."""
        lines = [f"HTTP/1.1 {self.status} {REASONS[self.status]}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, ("Connection", "close"))]
        return "\r\n".join((*lines, "", "")).encode() + (self.body if with_body else b"")


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode(), (("Content-Type", "application/json"),))


def text_page(title: str, text: str, name: str) -> Response:
    body = (
        f"<!doctype html><title>{html.escape(title)}</title><h1>{html.escape(title)}</h1>"
        f"<p>{html.escape(text)}</p><p>Node: <b>{html.escape(name)}</b></p>\n"
    )
    return Response(200, body.encode(), (("Content-Type", "text/html;charset=UTF-8"),))


def error_page(status: int, message: str) -> Response:
    """As Tomcat shows an error: a page, also where JSON was asked for."""
    title = f"HTTP Status {status}: {REASONS[status]}"
    body = f"<!doctype html><title>{title}</title><h1>{title}</h1><p><b>Message</b> {html.escape(message)}</p>\n"
    return Response(status, body.encode(), (("Content-Type", "text/html;charset=utf-8"),))


def is_proxy(address: str) -> bool:
    try:
        return any(ipaddress.ip_address(address) in network for network in PROXIES)
    except ValueError:
        return False


def parse(head: bytes) -> Request:
    """A request from everything before its body. Raises ValueError when it is none."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    own = {"x-node-peer", "connection"}  # said by the nginx in front, not by the client
    peer = next((value for name, value in pairs if name.lower() == "x-node-peer"), "")
    return Request(method, target, tuple(pair for pair in pairs if pair[0].lower() not in own), peer=peer)
