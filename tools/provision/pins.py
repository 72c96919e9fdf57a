"""The versions that everything is pinned to, read from requirements.in, their one home."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tools.provision.steps import ProvisionError


@dataclass(frozen=True)
class Pins:
    """Versions without a leading v."""

    cli: str
    """The CLI, its language host and the Python SDK."""
    aws: str
    command: str

    @property
    def plugins(self) -> dict[str, str]:
        """Version by plugin name."""
        return {"aws": self.aws, "command": self.command}


def read(requirements: Path) -> Pins:
    """Raises ProvisionError when one of the three is not pinned to one version."""
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)$", requirements.read_text(), re.M))
    try:
        return Pins(pinned["pulumi"], pinned["pulumi-aws"], pinned["pulumi-command"])
    except KeyError as missing:
        raise ProvisionError(f"{requirements.name} must pin {missing.args[0]} with ==.") from None
