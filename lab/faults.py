"""Faults that a person or a test causes on purpose, and undoing them.

The account knows nothing of them: EC2 goes on calling a killed instance running, as it does for minutes when a machine
dies. `kill` is a power cut, `pause` stops all processes (the host's kernel still takes connections, which then hang),
`cut` pulls the network cable without the host's noticing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lab import cgroups
from lab.hosts import Host
from lab.layout import LabError

KINDS = ("kill", "pause", "cut", "heal")


@dataclass
class Faults:
    """The instance ids with each fault."""

    killed: set[str] = field(default_factory=set)
    paused: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)

    def apply(self, kind: str, host: Host) -> str:
        """Makes or heals a fault; says what was done. A cut takes effect when the packet filter is loaded next."""
        instance = host.instance_id
        if kind == "heal":
            return self._heal(host)
        if kind == "cut":
            self.cut.add(instance)
            return "is cut from the network"
        if not host.running:
            raise LabError(f"{instance} is off: heal it first.")
        if kind == "pause":
            cgroups.freeze(host.cgroup, True)
            self.paused.add(instance)
            return "is paused"
        self.killed.add(instance)
        self.paused.discard(instance)
        host.stop()
        return "is powered off"

    def _heal(self, host: Host) -> str:
        instance = host.instance_id
        if instance in self.paused:
            cgroups.freeze(host.cgroup, False)
        was_off = instance in self.killed
        self.forget(instance)
        return "boots again from its disk" if was_off else "is healed"

    def forget(self, instance_id: str) -> None:
        """The instance has no fault any more."""
        for held in (self.killed, self.paused, self.cut):
            held.discard(instance_id)

    def describe(self, instance_id: str, running: bool) -> str:
        """The state of the host in a word or two."""
        if instance_id in self.killed:
            return "killed"
        if not running:
            return "off"
        found = [word for word, held in (("paused", self.paused), ("cut", self.cut)) if instance_id in held]
        return " and ".join(found) or "running"
