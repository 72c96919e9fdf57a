"""Images as stack files give them: by id, or by the exact name that their publisher gave them."""

from __future__ import annotations

from typing import Final

PUBLISHERS: Final = {"debian-": "136693071363", "AntMedia-": "679593333241"}
"""The AWS accounts of Debian and of Ant Media, by what the names of their images begin with.

Source: https://wiki.debian.org/Cloud/AmazonEC2Image, and the owner of Ant Media's images in the AWS Marketplace.
"""


def publisher(ami: str) -> str | None:
    """The AWS account whose image has this name; None for an id. Only that account's is meant: others copy names."""
    return next((account for prefix, account in PUBLISHERS.items() if ami.startswith(prefix)), None)
