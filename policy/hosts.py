"""What a host is made with: its metadata service, its volumes, its user data, its image."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from policy.rule import UNKNOWN, Finding, Resource, entries, of

SECRETS: Final = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a login within an address": re.compile(r"[a-z][a-z0-9+.-]*://[^\s/:@\"']*:[^\s/@\"']+@"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a password, token or licence": re.compile(
        r"(?i)(?:passw(?:or)?d|passphrase|secret|token|licen[sc]e)[a-z_-]*[\"']?\s*[:=]\s*[\"']?[^\s\"']{6,}"
    ),
    "passwords of users": re.compile(r"(?im)^\s*[\"']?(?:chpasswd|hashed_passwd|plain_text_passwd)\b"),
}
"""What a secret looks like."""

IMAGE_ID: Final = re.compile(r"ami-[0-9a-f]{8,17}")
MOVING_VERSIONS: Final = ("$Latest", "$Default")


def metadata_is_guarded(resources: Sequence[Resource]) -> Iterator[Finding]:
    """Hosts whose metadata service answers version 1, or across a hop."""
    for host in of(resources, "Instance"):
        options = host.get("metadataOptions") or {}
        if options is UNKNOWN:
            continue
        if options.get("httpTokens") != "required":
            yield host, f"{host.name} answers requests for metadata without a token"
        elif options.get("httpPutResponseHopLimit") != 1:
            yield host, f"{host.name} answers requests for metadata over {options.get('httpPutResponseHopLimit')} hops"


def volumes_are_encrypted(resources: Sequence[Resource]) -> Iterator[Finding]:
    """Volumes that are not encrypted, root volumes too."""
    for host in of(resources, "Instance"):
        roots = entries(host.get("rootBlockDevice")) or [{}]
        for device in (*roots, *entries(host.get("ebsBlockDevices"))):
            if not device.get("encrypted"):
                yield host, f"{device.get('deviceName') or 'the root volume'} of {host.name} is not encrypted"
    for volume in of(resources, "Volume"):
        if not volume.get("encrypted"):
            yield volume, f"the volume {volume.name} is not encrypted"


def user_data_holds_no_secret(resources: Sequence[Resource]) -> Iterator[Finding]:
    """User data with something like a secret in it, beside the stack's SSH host key. What it is, is not shown."""
    for host in of(resources, "Instance"):
        text = _user_data(host)
        if text is None:
            continue
        for what, pattern in SECRETS.items():
            if pattern.search(_without_host_key(text)):
                yield host, f"the user data of {host.name} holds {what}"


def _user_data(host: Resource) -> str | None:
    text, encoded = host.get("userData"), host.get("userDataBase64")
    if isinstance(encoded, str):
        try:
            text = base64.b64decode(encoded).decode("utf-8", "replace")
        except binascii.Error:
            text = encoded
    return text if isinstance(text, str) else None


def _without_host_key(text: str) -> str:
    """A cloud-config in JSON, as the program writes it, without the one secret that may be there."""
    first, _, body = text.partition("\n")
    try:
        config: Any = json.loads(body)
        config["ssh_keys"].pop("ed25519_private", None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return text
    return f"{first}\n{json.dumps(config, indent=1)}"


def images_are_pinned(resources: Sequence[Resource]) -> Iterator[Finding]:
    """Hosts whose image may be another one tomorrow."""
    for host in of(resources, "Instance"):
        image = host.get("ami")
        if image is not UNKNOWN and not IMAGE_ID.fullmatch(str(image)) and not entries(host.get("launchTemplate")):
            yield host, f"the image of {host.name} is {image or 'not said'}, not one image's id"
        for template in entries(host.get("launchTemplate")):
            version = template.get("version") or "$Default"
            if version in MOVING_VERSIONS:
                yield host, f"{host.name} starts from version {version} of a launch template"
