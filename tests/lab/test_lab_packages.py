"""Hosts install packages from the machine's own archive, through the lab's cache, and from nowhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab import apt_proxy, images
from tests.lab.labs import Instance, Network, from_anywhere


@pytest.fixture(scope="module")
def instance(network: Network) -> Iterator[Instance]:
    yield network.launch("installer").ready()


def test_a_package_can_be_installed_and_runs(instance: Instance) -> None:
    instance.run("apt-get", "-q", "update")
    instance.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "install", "tree")
    assert instance.run("tree", "--version").stdout.startswith("tree v")


def test_a_second_host_installs_from_the_cache(instance: Instance, network: Network) -> None:
    cache = images.cache_root() / "apt"
    second = network.launch("second").ready()
    instance.run("apt-get", "-q", "update")
    second.run("apt-get", "-q", "update")
    before = {path.name for path in cache.iterdir()}
    second.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "install", "tree")
    assert {path.name for path in cache.iterdir()} - before == set()


def test_only_the_archive_answers(instance: Instance) -> None:
    ask = ("curl", "-sS", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", "-H")
    assert instance.run(*ask, "Host: example.com", "http://192.0.2.80/").stdout == "403"
    assert instance.run(*ask[:-1], "-x", "http://192.0.2.80:3142", "http://example.com/").stdout == "403"
    archive = sorted(apt_proxy.archive_hosts())[0]
    tunnel = instance.run(*ask[:-1], "-x", "http://192.0.2.80:3142", f"https://{archive}/", check=False)
    assert tunnel.returncode != 0


def test_a_host_whose_groups_let_no_http_out_installs_nothing(network: Network) -> None:
    closed = network.launch("closed", network.group("no-http", egress=(from_anywhere("tcp", 443),))).ready()
    started = time.monotonic()
    done = closed.run("curl", "-sS", "-m", "2", "http://192.0.2.80/", check=False)
    assert done.returncode == 28 and time.monotonic() - started > 1.5
