"""The lab's certificate authority: what it signs, any TLS client takes."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from lab.authority import Authority

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("lab") / "authority")


def _handshake(authority: Authority, served: list[str], asked: str, path: Path) -> None:
    """A TLS client that trusts only the authority asks for a name."""
    chain, key = authority.issue(served)
    path.write_text(key + chain)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cadata=authority.pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 does by default
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(there, server_side=True).close()
        except OSError:
            there.close()

    threading.Thread(target=serve, daemon=True).start()
    with client.wrap_socket(here, server_hostname=asked) as secured:
        assert secured.version() == "TLSv1.3"


@pytest.mark.parametrize("asked", ["acme.lab.test", "sts.us-east-1.amazonaws.com"])
def test_a_strict_client_takes_its_certificates(authority: Authority, asked: str, tmp_path: Path) -> None:
    _handshake(authority, ["acme.lab.test", "*.us-east-1.amazonaws.com"], asked, tmp_path / "pair.pem")


def test_a_client_refuses_them_for_another_name(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        _handshake(authority, ["acme.lab.test"], "live.example.test", tmp_path / "pair.pem")


def test_openssl_finds_the_certificate_under_its_link(authority: Authority) -> None:
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(authority.directory / "certificate.pem")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert authority.hash_link == f"{said}.0"


def test_only_its_owner_reads_the_key(authority: Authority) -> None:
    assert stat.S_IMODE((authority.directory / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(authority.directory.stat().st_mode) == 0o700
