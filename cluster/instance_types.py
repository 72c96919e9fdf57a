"""What is known of EC2 instance types.

Source: the AWS documentation "Amazon EC2 instance types", read 2026-11. Sizes are x86-64 types that suit Ant Media
Server (at least 4 vCPU and 8 GiB) or HAProxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class InstanceType:
    """`vcpus` is a count, `memory_gib` is in GiB."""

    vcpus: int
    memory_gib: int

    def __str__(self) -> str:
        return f"{self.vcpus} vCPU and {self.memory_gib} GiB"


MEDIA_MINIMUM: Final = InstanceType(4, 8)
"""What Ant Media Server asks for. Source: its documentation, "Hardware requirements", read 2026-11."""

INSTANCE_TYPES: Final = {
    "t3.small": InstanceType(2, 2),
    "t3.medium": InstanceType(2, 4),
    "t3.large": InstanceType(2, 8),
    "t3.xlarge": InstanceType(4, 16),
    "m6i.large": InstanceType(2, 8),
    "m6i.xlarge": InstanceType(4, 16),
    "m6i.2xlarge": InstanceType(8, 32),
    "m7i.large": InstanceType(2, 8),
    "m7i.xlarge": InstanceType(4, 16),
    "m7i.2xlarge": InstanceType(8, 32),
    "c5.large": InstanceType(2, 4),
    "c5.xlarge": InstanceType(4, 8),
    "c5.2xlarge": InstanceType(8, 16),
    "c5.4xlarge": InstanceType(16, 32),
    "c6i.large": InstanceType(2, 4),
    "c6i.xlarge": InstanceType(4, 8),
    "c6i.2xlarge": InstanceType(8, 16),
    "c6i.4xlarge": InstanceType(16, 32),
    "c6i.8xlarge": InstanceType(32, 64),
    "c7i.large": InstanceType(2, 4),
    "c7i.xlarge": InstanceType(4, 8),
    "c7i.2xlarge": InstanceType(8, 16),
    "c7i.4xlarge": InstanceType(16, 32),
    "c7i.8xlarge": InstanceType(32, 64),
}
