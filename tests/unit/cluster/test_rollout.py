"""Enough nodes serve at any time: which node waits for which."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cluster.plan import ClusterPlan, Node, plan
from cluster.rollout import Rollout, rollout
from cluster.settings import load
from tests.unit.cluster.conftest import NOW, VALID


def cluster(origins: int, edges: int, most: dict[str, int] | None = None) -> ClusterPlan:
    media: dict[str, Any] = {**VALID["media"], "origins": {"count": origins}, "edges": {"count": edges}}
    if most:
        media["maxUnavailable"] = most
    return plan(load({**VALID, "media": media}, now=NOW), project="antmedia", stack="test")


def present(of: ClusterPlan) -> Rollout:
    return rollout(of, {node.address for node in of.media})


def most_at_once(order: Rollout, nodes: tuple[Node, ...]) -> int:
    """How many of the nodes may be away together: those that wait for none of the others, directly or not."""

    def waits_for(name: str) -> set[str]:
        before = order.predecessors.get(name)
        return {before, *waits_for(before)} if before else set()

    chains = {min({node.name, *waits_for(node.name)}, key=lambda name: int(name.rpartition("-")[2])) for node in nodes}
    return len(chains)


def test_a_first_creation_waits_for_nothing() -> None:
    of = cluster(3, 12)
    order = rollout(of, ())
    assert (order.new, order.present, order.predecessors) == (of.media, (), {})


def test_a_quarter_of_the_edges_and_one_origin_at_a_time() -> None:
    order = present(cluster(3, 12))
    assert order.predecessors["origin-2"] == "origin-1"
    assert order.predecessors["origin-3"] == "origin-2"
    assert not {"origin-1", "edge-1", "edge-2", "edge-3"} & order.predecessors.keys()
    assert [order.predecessors[f"edge-{n}"] for n in (4, 7, 12)] == ["edge-1", "edge-4", "edge-9"]


def test_a_new_node_waits_for_nobody_and_nobody_for_it() -> None:
    of = cluster(1, 4)
    order = rollout(of, {node.address for node in of.media if node.name != "edge-2"})
    assert [node.name for node in order.new] == ["edge-2"]
    assert order.predecessors == {"edge-3": "edge-1", "edge-4": "edge-3"}


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), st.integers(1, 40))
def test_never_more_than_the_settings_say_and_every_predecessor_comes_first(
    origins: int, edges: int, most_origins: int, most_edges: int
) -> None:
    of = cluster(origins, edges, {"origins": most_origins, "edges": most_edges})
    order = present(of)
    assert order.present == of.media
    assert most_at_once(order, of.origins) == min(most_origins, origins)
    assert most_at_once(order, of.edges) == min(most_edges, edges)
    place = {node.name: number for number, node in enumerate(order.present)}
    assert all(place[before] < place[name] for name, before in order.predecessors.items())
