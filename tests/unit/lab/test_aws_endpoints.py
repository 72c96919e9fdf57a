"""Which names are AWS's, and how the emulated account answers under them."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import aws_endpoints
from lab.authority import Authority
from lab.ec2.server import Server
from tests.patience import PATIENCE
from tests.unit.lab.patch_checks import Api, start

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("secretsmanager.us-east-1.amazonaws.com", True),
        ("monitoring.us-east-1.amazonaws.com", True),
        ("sts.us-east-1.amazonaws.com", True),
        ("sts.amazonaws.com", True),
        ("s3.us-east-1.amazonaws.com", True),
        ("bucket.s3.us-east-1.amazonaws.com", True),
        ("bucket.with.dots.s3.amazonaws.com", True),
        ("secretsmanager.eu-west-1.amazonaws.com", False),
        ("secretsmanager.amazonaws.com", False),
        ("bucket.sts.us-east-1.amazonaws.com", False),
        ("nothing.us-east-1.amazonaws.com", False),
        ("us-east-1.amazonaws.com", False),
        ("amazonaws.com", False),
        ("xamazonaws.com", False),
        (".s3.amazonaws.com", False),
        ("secretsmanager.us-east-1.amazonaws.com.example.org", False),
    ],
)
def test_names_are_those_of_the_services_of_one_region(name: str, is_one: bool) -> None:
    assert aws_endpoints.is_endpoint(name) is is_one


@pytest.fixture(scope="module")
def account() -> Iterator[tuple[Server, Api]]:
    running, api = start()
    yield running, api
    running.close()


@dataclass(frozen=True)
class Endpoint:
    """Where the account answers over TLS, and the certificates to trust."""

    port: int
    trusted: Path

    def get(self, name: str, path: str = "/") -> str:
        """The whole answer to one request for a name."""
        return self._ask(name, f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")

    def call(self, service: str, target: str, **request: str) -> dict[str, Any]:
        """An operation of a service that speaks JSON 1.1."""
        name, body = f"{service}.us-east-1.amazonaws.com", json.dumps(request)
        scope = f"test/20261101/us-east-1/{service}/aws4_request"
        headers = {
            "Host": name,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": target,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        lines = "".join(f"{header}: {value}\r\n" for header, value in headers.items())
        answer = self._ask(name, f"POST / HTTP/1.1\r\n{lines}\r\n{body}")
        found: dict[str, Any] = json.loads(answer.partition("\r\n\r\n")[2])
        return found

    def _ask(self, name: str, request: str) -> str:
        context = ssl.create_default_context(cafile=str(self.trusted))
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=name) as secured,
        ):
            secured.sendall(request.encode())
            answer = b""
            while data := secured.recv(4096):
                answer += data
        return answer.decode()


@pytest.fixture(scope="module")
def endpoint(account: tuple[Server, Api], tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    authority = Authority.make(tmp_path_factory.mktemp("endpoints") / "authority")
    aws_endpoints.serve(listening, account[0].app, authority)
    return Endpoint(port, authority.directory / "certificate.pem")


@pytest.mark.parametrize(
    "name", ["secretsmanager.us-east-1.amazonaws.com", "sts.amazonaws.com", "any.s3.us-east-1.amazonaws.com"]
)
def test_every_name_has_a_certificate(endpoint: Endpoint, name: str) -> None:
    assert endpoint.get(name).startswith("HTTP/1.1 ")


def test_the_account_is_the_same_one(endpoint: Endpoint, account: tuple[Server, Api]) -> None:
    endpoint.call(
        "secretsmanager", "secretsmanager.CreateSecret", Name="one", SecretString="1", ClientRequestToken="a" * 32
    )
    secrets = account[1].client("secretsmanager")
    assert secrets.get_secret_value(SecretId="one")["SecretString"] == "1"
    secrets.put_secret_value(SecretId="one", SecretString="2")
    assert endpoint.call("secretsmanager", "secretsmanager.GetSecretValue", SecretId="one")["SecretString"] == "2"
    secrets.delete_secret(SecretId="one", ForceDeleteWithoutRecovery=True)


def test_a_caller_that_says_nothing_keeps_nobody_waiting(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_endpoints, "_HANDSHAKE_SECONDS", 2 * PATIENCE)
    with socket.create_connection(("127.0.0.1", endpoint.port)):
        assert endpoint.get("sts.amazonaws.com")
