"""In which order media nodes may be touched, so that enough of them serve at any time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from cluster.addressing import Role
from cluster.plan import ClusterPlan, Node

EDGES_AT_ONCE: Final = 1 / 4
"""The share of the edges that may be away at a time, where the settings do not say how many."""


@dataclass(frozen=True)
class Rollout:
    """Nodes that are not there yet disturb nobody: all at once. The others follow one another."""

    new: tuple[Node, ...]
    present: tuple[Node, ...]
    """Origins first; each one after its predecessor."""
    predecessors: Mapping[str, str]
    """By name: the node that has to serve again before this one may be touched. Those without one are not in it."""


def max_unavailable(plan: ClusterPlan) -> Mapping[Role, int]:
    """How many nodes of each role may be away at once."""
    settings = plan.settings.media.max_unavailable
    return {
        Role.ORIGIN: settings.origins,
        Role.EDGE: settings.edges or max(1, math.floor(len(plan.edges) * EDGES_AT_ONCE)),
    }


def rollout(plan: ClusterPlan, addresses: Collection[IPv4Address]) -> Rollout:
    """Decide the order from the private addresses of the hosts that exist."""
    present = [node for node in plan.media if node.address in addresses]
    predecessors: dict[str, str] = {}
    for role, most in max_unavailable(plan).items():
        nodes = [node.name for node in present if node.role is role]
        predecessors |= zip(nodes[most:], nodes, strict=False)
    return Rollout(
        new=tuple(node for node in plan.media if node not in present),
        present=tuple(present),
        predecessors=predecessors,
    )
