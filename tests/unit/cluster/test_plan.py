"""Addresses and nodes: stable, distinct, inside their subnets."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import addressing
from cluster.addressing import Role
from cluster.plan import ClusterPlan

VPCS = st.integers(16, 20).flatmap(
    lambda prefix: st.integers(0, 2 ** (prefix - 8) - 1).map(
        lambda n: IPv4Network(((10 << 24) + (n << (32 - prefix)), prefix))
    )
)
ZONES = st.integers(1, addressing.MAX_ZONES)
NUMBERS = st.integers(1, addressing.MAX_NODES_PER_ROLE)


@given(vpc=VPCS, zones=ZONES)
def test_every_host_that_can_exist_has_an_address_of_its_own_that_aws_leaves_free(vpc: IPv4Network, zones: int) -> None:
    seen = set()
    for role in Role:
        for number in range(1, addressing.MAX_NODES_PER_ROLE + 1 if role in (Role.ORIGIN, Role.EDGE) else 2):
            address = addressing.address(vpc, role, number, zones)
            subnet = addressing.subnet(vpc, addressing.zone_of(number, zones))
            assert subnet.subnet_of(vpc)
            assert address in list(subnet)[4:-1]
            assert address not in seen
            seen.add(address)


@given(vpc=VPCS, a=ZONES, b=ZONES)
def test_a_zones_subnet_does_not_depend_on_how_many_zones_there_are(vpc: IPv4Network, a: int, b: int) -> None:
    assert a == b or not addressing.subnet(vpc, a).overlaps(addressing.subnet(vpc, b))


@given(zones=ZONES, count=NUMBERS)
def test_nodes_are_spread_evenly_over_the_zones(zones: int, count: int) -> None:
    load = [sum(addressing.zone_of(n, zones) == zone for n in range(1, count + 1)) for zone in range(1, zones + 1)]
    assert max(load) - min(load) <= 1


@pytest.mark.parametrize("number", [0, -1, 101])
def test_a_node_number_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="a role has nodes 1 to 100"):
        addressing.address(IPv4Network("172.30.0.0/16"), Role.EDGE, number, 2)


def media(origins: int, edges: int) -> dict[str, Any]:
    return {"ami": "ami-0123456789abcdef0", "origins": {"count": origins}, "edges": {"count": edges}}


def test_adding_or_removing_a_node_moves_no_other(make_plan: Callable[..., ClusterPlan]) -> None:
    small, large = make_plan(media=media(1, 2)), make_plan(media=media(3, 3))
    assert set(small.nodes) < set(large.nodes)
    assert [node.name for node in large.media] == ["origin-1", "origin-2", "origin-3", "edge-1", "edge-2", "edge-3"]


def test_every_object_says_whose_it_is(make_plan: Callable[..., ClusterPlan]) -> None:
    assert make_plan().tags("media", "edge-1") == {
        "Name": "antmedia-test-edge-1",
        "Project": "antmedia",
        "Stack": "test",
        "Role": "media",
        "Node": "edge-1",
        "ManagedBy": "pulumi",
    }


def test_the_database_has_a_host_of_its_own_in_the_first_zone(make_plan: Callable[..., ClusterPlan]) -> None:
    database = make_plan().database
    assert database
    assert (database.name, str(database.address), database.zone.number) == ("db-1", "172.30.0.20", 1)
    assert database in make_plan().nodes
    assert database not in make_plan().media


def test_a_stack_without_a_database_of_its_own_has_no_such_host(make_plan: Callable[..., ClusterPlan]) -> None:
    external = {"database": {"mode": "external"}, "databaseLogin": {"uri": "mongodb://a:b@db.example.com"}}
    community = {"media": {"ami": "ami-0123456789abcdef0", "edition": "community"}}
    for replaced in (external, community):
        assert make_plan(**replaced).database is None
        assert "db-1" not in {node.name for node in make_plan(**replaced).nodes}
