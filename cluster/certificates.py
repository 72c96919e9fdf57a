"""What is wrong with a certificate that somebody provides, if anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


def faults(chain: str, key: str, names: Iterable[str], now: datetime) -> Iterator[str]:
    """Say what a person would find out only when viewers complain.

    Args:
        chain: PEM, the server's own certificate first.
        key: PEM, unencrypted.
        names: what the certificate must be good for.
        now: with a time zone.
    """
    try:
        certificate = x509.load_pem_x509_certificates(chain.encode())[0]
    except ValueError:
        yield "the chain is not a list of certificates in PEM format"
        return
    if certificate.not_valid_after_utc <= now:
        yield f"the certificate ended on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if certificate.not_valid_before_utc > now:
        yield f"the certificate begins only on {certificate.not_valid_before_utc:%Y-%m-%d}"
    held = _names(certificate)
    missing = [name for name in names if name not in held and "*." + name.partition(".")[2] not in held]
    if missing:
        yield f"the certificate is for {', '.join(sorted(held)) or 'no name'}, not for {', '.join(missing)}"
    try:
        private = load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError):
        yield "the key is not an unencrypted private key in PEM format"
        return
    encoding = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*encoding) != certificate.public_key().public_bytes(*encoding):
        yield "the key does not belong to the certificate"


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}
