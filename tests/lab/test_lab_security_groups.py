"""Security groups are what EC2 makes of them, between real hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.labs import Instance, Lab, Network, eventually, from_anywhere, from_group, probe

CLIENT, ADMIN = "192.0.2.10", "192.0.2.20"


@dataclass
class Site:
    web: Instance
    store: Instance
    inner: Instance
    web_group: str
    store_group: str


@pytest.fixture(scope="module")
def site(network: Network) -> Iterator[Site]:
    web_group = network.group(
        "web",
        ingress=(
            from_anywhere("tcp", 8000),
            from_anywhere("tcp", 8022, cidr=f"{ADMIN}/32"),
            from_anywhere("udp", 8053, cidr=f"{CLIENT}/32"),
            from_anywhere("tcp", 8100, 8102, cidr=f"{CLIENT}/32"),
        ),
        egress=(from_anywhere("tcp", 5432), from_anywhere("tcp", 9000, cidr=f"{ADMIN}/32")),
    )
    store_group = network.group("store", ingress=(from_group("tcp", 5432, web_group),), egress=())
    web = network.launch("web", web_group)
    store = network.launch("store", store_group)
    inner = network.launch("inner", public=False)
    web.ready().serve(8000, 8001, 8022, 8053, 8100, 8102, 8103)
    store.ready().serve(5432)
    inner.ready()
    yield Site(web, store, inner, web_group, store_group)


def test_a_port_open_to_the_world_answers_and_sees_who_is_there(site: Site, lab: Lab) -> None:
    assert probe(lab.client, site.web.public, 8000) == CLIENT
    assert probe(lab.admin, site.web.public, 8000) == ADMIN


def test_a_port_no_rule_names_is_silent(site: Site, lab: Lab) -> None:
    assert probe(lab.client, site.web.public, 8001) == "silent"


def test_a_rule_for_one_source_lets_no_other_in(site: Site, lab: Lab) -> None:
    assert probe(lab.admin, site.web.public, 8022) == ADMIN
    assert probe(lab.client, site.web.public, 8022) == "silent"


def test_a_port_range_ends_where_it_says(site: Site, lab: Lab) -> None:
    assert probe(lab.client, site.web.public, 8102) == CLIENT
    assert probe(lab.client, site.web.public, 8103) == "silent"


def test_udp_and_tcp_are_different_rules(site: Site, lab: Lab) -> None:
    assert probe(lab.client, site.web.public, 8053, "udp") == CLIENT
    assert probe(lab.client, site.web.public, 8053, "tcp") == "silent"


def test_a_group_as_source_means_its_members_by_private_address(site: Site) -> None:
    assert probe(site.web.run, site.store.private, 5432) == site.web.private
    assert probe(site.inner.run, site.store.private, 5432) == "silent"
    assert probe(site.web.run, site.store.public, 5432) == "silent", "by public address the source is no group's"


def test_without_an_egress_rule_nothing_leaves(site: Site, lab: Lab) -> None:
    assert probe(site.store.run, site.web.private, 8000) == "silent"
    assert probe(site.web.run, site.store.private, 5433) == "silent"


def test_egress_is_judged_by_the_destination(site: Site, lab: Lab) -> None:
    # Nobody listens on the admin's port 9000: a refusal shows that the packet got there.
    assert probe(site.web.run, ADMIN, 9000) == "refused"
    assert probe(site.web.run, CLIENT, 9000) == "silent"


def test_answers_pass_without_an_egress_rule(site: Site, lab: Lab) -> None:
    """`store` has no egress rule at all, yet its answers reach `web`."""
    assert probe(site.web.run, site.store.private, 5432) == site.web.private


def test_name_service_and_metadata_need_no_rule(site: Site) -> None:
    token = site.store.run(
        *("curl", "-sS", "-m", "3", "-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"),
        "http://169.254.169.254/latest/api/token",
    )
    assert len(token.stdout) > 20
    name = f"ip-{site.web.private.replace('.', '-')}.ec2.internal"
    assert site.store.run("getent", "hosts", name).stdout.split()[0] == site.web.private


def test_a_changed_rule_holds_within_a_second(site: Site, lab: Lab) -> None:
    ec2 = lab.ec2()
    rule = [from_anywhere("tcp", 8001)]
    ec2.authorize_security_group_ingress(GroupId=site.web_group, IpPermissions=rule)
    eventually(lambda: probe(lab.client, site.web.public, 8001, seconds=0.3), CLIENT, seconds=1.0)
    ec2.revoke_security_group_ingress(GroupId=site.web_group, IpPermissions=rule)
    eventually(lambda: probe(lab.client, site.web.public, 8001, seconds=0.3), "silent", seconds=1.5)


def test_ping_needs_an_icmp_rule(site: Site, lab: Lab) -> None:
    ping = ("python3", "-", site.web.public)
    program = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); s.settimeout(1)
m = struct.pack("!BBHHH", 8, 0, 0, 7, 1); c = sum(struct.unpack("!4H", m)); c = ~((c >> 16) + (c & 0xffff)) & 0xffff
s.sendto(struct.pack("!BBHHH", 8, 0, c, 7, 1), (sys.argv[1], 0))
try: print(s.recvfrom(100)[1][0])
except TimeoutError: print("silent")
"""
    assert lab.client(*ping, stdin=program).stdout.strip() == "silent"
    lab.ec2().authorize_security_group_ingress(
        GroupId=site.web_group, IpPermissions=[from_anywhere("icmp", 8, -1, cidr=f"{CLIENT}/32")]
    )
    eventually(lambda: lab.client(*ping, stdin=program).stdout.strip(), site.web.public, seconds=3.0)
    assert lab.admin(*ping, stdin=program).stdout.strip() == "silent"


def test_nobody_on_the_internet_reaches_a_private_address(site: Site, lab: Lab) -> None:
    assert probe(lab.client, site.web.private, 8000) == "silent"


def test_an_instance_without_public_address_has_no_internet(site: Site, lab: Lab) -> None:
    """`inner` is in the VPC's default group, whose egress is open."""
    assert probe(site.inner.run, ADMIN, 9000) == "silent"
    assert probe(site.inner.run, site.web.public, 8000) == "silent"
    assert probe(site.inner.run, site.web.private, 8000) == site.inner.private


def test_without_a_route_to_the_gateway_there_is_no_internet(site: Site, lab: Lab, network: Network) -> None:
    ec2 = lab.ec2()
    assert probe(lab.client, site.web.public, 8000) == CLIENT
    ec2.delete_route(RouteTableId=network.table, DestinationCidrBlock="0.0.0.0/0")
    eventually(lambda: probe(lab.client, site.web.public, 8000, seconds=0.3), "silent", seconds=3.0)
    ec2.create_route(RouteTableId=network.table, DestinationCidrBlock="0.0.0.0/0", GatewayId=network.gateway)
    eventually(lambda: probe(lab.client, site.web.public, 8000, seconds=0.3), CLIENT, seconds=3.0)


def test_a_host_cannot_use_an_address_that_is_not_its_own(site: Site, lab: Lab) -> None:
    stolen = site.web.private
    inner = site.inner
    inner.run("ip", "addr", "add", f"{stolen}/32", "dev", "lo")
    try:
        answer = inner.run(
            *("curl", "-sS", "-m", "1", "--interface", stolen, "-X", "PUT"),
            *("-H", "X-aws-ec2-metadata-token-ttl-seconds: 60", "http://169.254.169.254/latest/api/token"),
            check=False,
        )
        assert answer.returncode == 28, f"a token for another instance: {answer.stdout}{answer.stderr}"
    finally:
        inner.run("ip", "addr", "del", f"{stolen}/32", "dev", "lo")
