"""`make render STACK=prod FILE=haproxy.cfg`: what a stack file makes of a host's file. No engine, no credentials."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cluster import keys, render
from cluster.plan import ClusterPlan, plan
from cluster.settings import NAMESPACE, SettingsError, load

STACKS: Final = Path(__file__).resolve().parent.parent / "stacks"


def configuration(stack: str, folder: Path | None = None) -> dict[str, Any]:
    """The stack file's values; host files hold no secrets, so others stand in for those that it keeps encrypted.

    `folder` has the file, where that is not stacks/.

    Raises:
        FileNotFoundError: no such stack.
    """
    text = ((folder or STACKS) / f"Pulumi.{stack}.yaml").read_text()
    return with_stand_ins((yaml.safe_load(text) or {}).get("config") or {})


def with_stand_ins(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the program's namespace, with others in place of its secrets. `config` has full keys."""
    values = {key.removeprefix(f"{NAMESPACE}:"): value for key, value in config.items() if key.startswith(NAMESPACE)}
    values["ssh"] = {"privateKey": keys.new_private_key(), "hostKey": keys.new_private_key()}
    for group in ("stats", "administrator", "databaseLogin"):
        values[group] = {**(values.get(group) or {}), "password": "not-the-real-one"}
    if "uri" in values["databaseLogin"]:
        values["databaseLogin"]["uri"] = "mongodb://not:the-real-one@database.invalid"
    if isinstance(tls := values.get("tls"), dict) and tls.keys() >= {"chain", "key"}:
        values["tls"] = {**tls, **_certificate(values)}
    return values


def _certificate(values: dict[str, Any]) -> dict[str, str]:
    """A chain and a key that fit the stack's names."""
    balancer = values.get("loadBalancer") or {}
    more = values["tls"].get("extraNames") or []
    names = [values.get("domain"), *more, balancer.get("publishName"), balancer.get("playName")]
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "not the real one")])
    subject = x509.SubjectAlternativeName([x509.DNSName(name) for name in names if isinstance(name, str)])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))
    chain = made.add_extension(subject, critical=False).sign(key, hashes.SHA256())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"chain": chain.public_bytes(Encoding.PEM).decode(), "key": secret.decode()}


def stack_plan(stack: str, folder: Path | None = None) -> ClusterPlan:
    """The plan of a stack file, in stacks/ or in `folder`.

    Raises:
        FileNotFoundError: no such stack.
        SettingsError: its configuration cannot be used.
    """
    return plan(load(configuration(stack, folder), now=datetime.now(UTC)), project=NAMESPACE, stack=stack)


def main() -> int:
    """Print the file, or what is wrong with the stack file."""
    stack, name = sys.argv[1:3]
    if name not in render.HOST_FILES:
        print(f"There is no host file {name}; there are: {', '.join(render.HOST_FILES)}.", file=sys.stderr)
        return 1
    try:
        cluster = stack_plan(stack)
    except FileNotFoundError:
        print(f"There is no stack file stacks/Pulumi.{stack}.yaml.", file=sys.stderr)
        return 1
    except SettingsError as error:
        print(f"stack {stack}: {error}", file=sys.stderr)
        return 1
    print(render.HOST_FILES[name](cluster), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
