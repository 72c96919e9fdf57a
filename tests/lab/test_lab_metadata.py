"""The metadata service answers each instance as its own options say."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.labs import Instance, Network

BASE = "http://169.254.169.254"
NO_ANSWER = 28  # curl: timed out


@dataclass
class Three:
    strict: Instance
    lenient: Instance
    without: Instance


@pytest.fixture(scope="module")
def three(network: Network) -> Iterator[Three]:
    found = Three(
        network.launch(
            "strict",
            UserData="#!/bin/sh\necho user data ran > /root/user-data\n",
            MetadataOptions={
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 1,
                "InstanceMetadataTags": "enabled",
            },
        ),
        network.launch("lenient", MetadataOptions={"HttpTokens": "optional", "HttpPutResponseHopLimit": 2}),
        network.launch("without", MetadataOptions={"HttpTokens": "required"}),
    )
    for each in (found.strict, found.lenient, found.without):
        each.ready()
    found.without.lab.ec2().modify_instance_metadata_options(InstanceId=found.without.id, HttpEndpoint="disabled")
    yield found


def _status(instance: Instance, *arguments: str, check: bool = True) -> str:
    done = instance.run("curl", "-sS", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", *arguments, check=check)
    return done.stdout if done.returncode == 0 else f"curl {done.returncode}"


def _token(instance: Instance, *before: str) -> str:
    seconds = ("-H", "X-aws-ec2-metadata-token-ttl-seconds: 60")
    ask = ("curl", "-sS", "-m", "2", "-X", "PUT", *seconds, f"{BASE}/latest/api/token")
    done = instance.run(*before, *ask, check=False)
    return done.stdout if done.returncode == 0 else f"curl {done.returncode}"


def _read(instance: Instance, path: str) -> str:
    token = ("-H", f"X-aws-ec2-metadata-token: {_token(instance)}")
    return instance.run("curl", "-sSf", "-m", "2", *token, f"{BASE}/latest/{path}").stdout


def test_cloud_init_ran_the_user_data(three: Three) -> None:
    assert three.strict.run("cat", "/root/user-data").stdout == "user data ran\n"


def test_a_request_without_token_is_refused_where_tokens_are_required(three: Three) -> None:
    assert _status(three.strict, f"{BASE}/latest/meta-data/") == "401"
    assert _status(three.lenient, f"{BASE}/latest/meta-data/") == "200"


def test_with_a_token_it_is_answered(three: Three) -> None:
    assert _read(three.strict, "meta-data/instance-id") == three.strict.id
    assert _read(three.strict, "meta-data/local-ipv4") == three.strict.private
    assert _read(three.strict, "meta-data/public-ipv4") == three.strict.public


def test_a_token_of_another_instance_is_worth_nothing(three: Three) -> None:
    token = _token(three.lenient)
    assert _status(three.lenient, "-H", f"X-aws-ec2-metadata-token: {token}", f"{BASE}/latest/meta-data/") == "200"
    assert _status(three.strict, "-H", f"X-aws-ec2-metadata-token: {token}", f"{BASE}/latest/meta-data/") == "401"
    assert _status(three.lenient, "-H", "X-aws-ec2-metadata-token: none", f"{BASE}/latest/meta-data/") == "401"


def test_a_switched_off_endpoint_answers_nobody(three: Three) -> None:
    assert _status(three.without, f"{BASE}/latest/meta-data/") == "403"
    seconds = ("-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60")
    assert _status(three.without, *seconds, f"{BASE}/latest/api/token") == "403"


def test_tags_are_shown_only_where_the_option_says_so(three: Three) -> None:
    assert _read(three.strict, "meta-data/tags/instance/Name") == "strict"
    assert _status(three.lenient, f"{BASE}/latest/meta-data/tags/instance/Name") == "404"


def test_the_hop_limit_keeps_tokens_out_of_a_container(three: Three) -> None:
    """A container on the instance is one hop deeper: a network of its own behind the instance's NAT, as Docker's."""
    inside = ("ip", "netns", "exec", "container")
    for instance in (three.strict, three.lenient):
        instance.run("sh", "-euc", CONTAINER)
        # The image has no packet filter; this machine's works on the instance's network as well.
        namespace = instance.lab.layout.host_namespace(instance.id)
        subprocess.run(["ip", "netns", "exec", namespace, "nft", MASQUERADE], check=True)
        assert len(_token(instance)) > 20, "the instance itself gets one"
    assert _token(three.strict, *inside) == f"curl {NO_ANSWER}", "limit 1: the token does not travel further"
    assert _status(three.strict, f"{BASE}/") == "401", "the instance itself is answered still"
    assert len(_token(three.lenient, *inside)) > 20, "limit 2: one hop more"


CONTAINER = """
ip netns add container
ip link add outside type veth peer name eth0 netns container
ip addr add 10.250.0.1/24 dev outside
ip link set outside up
ip -n container addr add 10.250.0.2/24 dev eth0
ip -n container link set eth0 up
ip -n container route add default via 10.250.0.1
sysctl -qw net.ipv4.ip_forward=1
"""
MASQUERADE = (
    "add table ip nat; add chain ip nat out { type nat hook postrouting priority srcnat; };"
    'add rule ip nat out oifname "eth0" masquerade'
)
