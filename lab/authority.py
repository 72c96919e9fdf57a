"""The lab's own certificate authority: it vouches for what the lab puts on its internet, as public ones do for AWS.

One per run of the lab, in its state directory. Every host has its certificate among the trusted ones from its first
boot. It has nothing to do with the root of the ACME server, which signs what the product asks for.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

_LIFETIME = datetime.timedelta(days=3650)
"""A lab lives for hours; a clock that a test sets forward must not make the lab's own services untrusted."""
_SUBJECT = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab authority")])


@dataclass(frozen=True)
class Authority:
    """A certificate authority that signs server certificates."""

    directory: Path
    _certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, directory: Path) -> Authority:
        """A new authority; its certificate and its key (for root only) are written into a new directory."""
        key = ec.generate_private_key(ec.SECP256R1())
        unsigned = (
            _builder(_SUBJECT, _SUBJECT, key.public_key(), key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        made = cls(directory, unsigned.sign(key, hashes.SHA256()), key)
        directory.mkdir(mode=0o700)
        write_private(directory / "key.pem", _key_pem(key))
        (directory / "certificate.pem").write_text(made.pem)
        return made

    @property
    def pem(self) -> str:
        """The authority's certificate: what its clients must trust."""
        return _pem(self._certificate)

    @property
    def hash_link(self) -> str:
        """The name by which OpenSSL looks for the certificate in a directory of trusted ones, such as `1a2b3c4d.0`.

        Source: X509_NAME_hash(3): SHA-1 of the canonical subject, which this one already is but for the outer header.
        """
        encoded = self._certificate.subject.public_bytes()
        first_four = hashlib.sha1(encoded[2:], usedforsecurity=False).digest()[:4]
        return f"{int.from_bytes(first_four, 'little'):08x}.0"

    def issue(self, names: Sequence[str]) -> tuple[str, str]:
        """Chain and private key, both PEM, for a server with these DNS names, wildcards too."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        unsigned = (
            _builder(subject, _SUBJECT, key.public_key(), self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        )
        return _pem(unsigned.sign(self._key, hashes.SHA256())) + self.pem, _key_pem(key)


def write_private(path: Path, text: str) -> None:
    """Writes a new file that only its owner may read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
