"""The instance metadata service on 169.254.169.254, as each instance's options say.

`answer` is pure: a request and what is known of the caller in, a response out. The caller is known by its private
address, which the packet filter does not let anybody else use.
"""

from __future__ import annotations

import http.server
import json
import re
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lab import layout
from lab.ec2.model import Instance, InstanceProfile, SecurityGroup
from lab.ec2.roles import Credentials

VERSIONS = ("1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "2024-04-11", "latest")
MAX_TOKEN_SECONDS = 21600  # EC2's limit
_TOKEN_HEADER = "x-aws-ec2-metadata-token"
_TOKEN_SECONDS_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
_DEFAULT_TTL = 64

Tree = Mapping[str, "str | Tree"]
GiveCredentials = Callable[[str, str], Credentials]
"""Role ARN and instance id to the credentials that the instance uses the role with."""


@dataclass(frozen=True)
class Response:
    """An HTTP response; `ip_ttl` is the number of hops that its packets may travel, None for any."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ip_ttl: int | None = None


@dataclass
class Tokens:
    """IMDSv2 tokens, each good for one instance and a time. `clock` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    _issued: dict[str, tuple[str, float]] = field(default_factory=dict)

    def issue(self, instance_id: str, seconds: int) -> str:
        now = self.clock()
        self._issued = {token: entry for token, entry in self._issued.items() if entry[1] > now}
        token = secrets.token_urlsafe(40)
        self._issued[token] = (instance_id, now + seconds)
        return token

    def is_valid(self, token: str, instance_id: str) -> bool:
        owner, until = self._issued.get(token, ("", 0.0))
        return owner == instance_id and self.clock() < until


def answer(
    method: str,
    path: str,
    headers: Mapping[str, str],
    caller: Instance | None,
    groups: Sequence[SecurityGroup],
    tokens: Tokens,
    credentials: GiveCredentials | None = None,
) -> Response:
    """What EC2 answers to a request of `caller`. Header names are in lower case; `credentials` gives those of a role
    to an instance."""
    if caller is None:
        return Response(404)
    if caller.metadata_options.http_endpoint != "enabled":
        return Response(403)
    parts = [part for part in path.split("?")[0].split("/") if part]
    if method == "PUT":
        return _token(parts, headers, caller, tokens)
    if method not in ("GET", "HEAD"):
        return Response(405)
    token = headers.get(_TOKEN_HEADER)
    if token is None and caller.metadata_options.http_tokens == "required":
        return Response(401)
    if token is not None and not tokens.is_valid(token, caller.id):
        return Response(401)
    return _read(parts, caller, groups, credentials)


def _token(parts: Sequence[str], headers: Mapping[str, str], caller: Instance, tokens: Tokens) -> Response:
    if "x-forwarded-for" in headers:  # a misconfigured proxy on the instance must not hand out tokens
        return Response(403)
    if list(parts) != ["latest", "api", "token"]:
        return Response(404)
    seconds = headers.get(_TOKEN_SECONDS_HEADER, "")
    if not re.fullmatch(r"\d{1,5}", seconds) or not 1 <= int(seconds) <= MAX_TOKEN_SECONDS:
        return Response(400)
    return Response(
        200,
        tokens.issue(caller.id, int(seconds)).encode(),
        {_TOKEN_SECONDS_HEADER: seconds},
        ip_ttl=caller.metadata_options.http_put_response_hop_limit,
    )


def _read(
    parts: Sequence[str], caller: Instance, groups: Sequence[SecurityGroup], credentials: GiveCredentials | None
) -> Response:
    if not parts:
        return _text("\n".join(VERSIONS))
    if parts[0] not in VERSIONS:
        return Response(404)
    if list(parts[1:]) == ["user-data"]:
        if not caller.user_data:
            return Response(404)
        return Response(200, caller.user_data, {"Content-Type": "application/octet-stream"})
    node: str | Tree = {
        "dynamic": {"instance-identity": {"document": identity_document(caller)}},
        "meta-data": {
            **metadata_tree(caller, groups),
            **({"iam": iam_tree(caller.id, caller.profile, credentials)} if caller.profile else {}),
        },
        **({"user-data": ""} if caller.user_data else {}),
    }
    for part in parts[1:]:
        if isinstance(node, str) or part not in node:
            return Response(404)
        node = node[part]
    if isinstance(node, str):
        return _text(node)
    if parts[-1] == "public-keys":
        return _text("\n".join(f"{index}={caller.key_name}" for index in node))
    return _text("\n".join(name if isinstance(held, str) else f"{name}/" for name, held in sorted(node.items())))


def _text(body: str) -> Response:
    return Response(200, body.encode(), {"Content-Type": "text/plain"})


def metadata_tree(instance: Instance, groups: Sequence[SecurityGroup]) -> Tree:
    """The tree under meta-data/: what EC2 shows for an instance in a VPC, as far as the lab knows it."""
    names = "\n".join(group.name for group in groups if group.id in instance.security_group_ids)
    host_name = private_name(instance.private_ip)
    interface: dict[str, str | Tree] = {
        "device-number": "0",
        "local-hostname": host_name,
        "local-ipv4s": instance.private_ip,
        "mac": instance.mac,
        "owner-id": layout.ACCOUNT,
        "security-group-ids": "\n".join(instance.security_group_ids),
        "security-groups": names,
        "subnet-id": instance.subnet_id,
        "subnet-ipv4-cidr-block": instance.subnet_cidr,
        "vpc-id": instance.vpc_id,
    }
    tree: dict[str, str | Tree] = {
        "ami-id": instance.image_id,
        "ami-launch-index": "0",
        "hostname": host_name,
        "instance-action": "none",
        "instance-id": instance.id,
        "instance-life-cycle": "on-demand",
        "instance-type": instance.instance_type,
        "local-hostname": host_name,
        "local-ipv4": instance.private_ip,
        "mac": instance.mac,
        "network": {"interfaces": {"macs": {instance.mac: interface}}},
        "placement": {"availability-zone": instance.az, "region": layout.REGION},
        "security-groups": names,
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    if instance.public_ip:
        interface["public-ipv4s"] = tree["public-ipv4"] = instance.public_ip
    if instance.public_key:
        tree["public-keys"] = {"0": {"openssh-key": instance.public_key.strip() + "\n"}}
    if instance.metadata_options.instance_metadata_tags == "enabled":
        tree["tags"] = {"instance": dict(instance.tags)}
    return tree


def iam_tree(instance_id: str, profile: InstanceProfile, credentials: GiveCredentials | None) -> Tree:
    """The tree under meta-data/iam/ of an instance with a profile."""
    if profile.role_arn is None or credentials is None:
        return {}
    given = credentials(profile.role_arn, instance_id)
    info = {
        "Code": "Success",
        "LastUpdated": given.issued,
        "InstanceProfileArn": profile.arn,
        "InstanceProfileId": profile.id,
    }
    keys = {
        "Code": "Success",
        "LastUpdated": given.issued,
        "Type": "AWS-HMAC",
        "AccessKeyId": given.access_key_id,
        "SecretAccessKey": given.secret_access_key,
        "Token": given.token,
        "Expiration": given.expiration,
    }
    role = profile.role_arn.rpartition("/")[2]
    return {"info": json.dumps(info, indent=2), "security-credentials": {role: json.dumps(keys, indent=2)}}


def identity_document(instance: Instance) -> str:
    """The instance identity document (unsigned: nothing in the lab could check a signature)."""
    return json.dumps(
        {
            "accountId": layout.ACCOUNT,
            "architecture": "x86_64",
            "availabilityZone": instance.az,
            "imageId": instance.image_id,
            "instanceId": instance.id,
            "instanceType": instance.instance_type,
            "privateIp": instance.private_ip,
            "region": layout.REGION,
            "version": "2017-09-30",
        },
        indent=2,
    )


def private_name(address: str) -> str:
    """The name that EC2 gives a private address in us-east-1."""
    return f"ip-{address.replace('.', '-')}.ec2.internal"


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def serve(
    listening: socket.socket,
    find: Callable[[str], Instance | None],
    groups: Callable[[], Sequence[SecurityGroup]],
    credentials: GiveCredentials,
) -> None:
    """Answers on `listening` from now on; `find` gives the running instance with a private address."""
    tokens = Tokens()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "EC2ws", ""

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the caller is gone, or too many hops away
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """No line per request: each boot asks dozens of times."""

        def _answer(self) -> None:
            found = answer(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                find(self.client_address[0]),
                groups(),
                tokens,
                credentials,
            )
            self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, found.ip_ttl or _DEFAULT_TTL)
            self.send_response(found.status)
            for name, value in {**found.headers, "Content-Length": str(len(found.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    server = _Server(listening.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    threading.Thread(target=server.serve_forever, name="metadata", daemon=True).start()
