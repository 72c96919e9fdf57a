"""Nothing in a lab reaches the machine or the real network."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import layout
from tests.lab.labs import Instance, Lab, Network, probe

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def instance(network: Network) -> Iterator[Instance]:
    yield network.launch("outsider").ready()


@pytest.fixture(params=["client", "admin", "engine", "host"])
def run(request: pytest.FixtureRequest, lab: Lab, instance: Instance) -> Run:
    """A way to run a command in each kind of namespace."""

    def engine(*command: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["ip", "netns", "exec", lab.name, *command], input=stdin, capture_output=True, text=True)

    ways: dict[str, Run] = {"client": lab.client, "admin": lab.admin, "engine": engine, "host": instance.run}
    return ways[str(request.param)]


@pytest.fixture(scope="module")
def service() -> Iterator[int]:
    """The port of a service on every address of this machine."""
    with socket.create_server(("0.0.0.0", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"machine\n")

        threading.Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1]


def _addresses() -> list[str]:
    listed = subprocess.run(["ip", "-4", "-brief", "address"], capture_output=True, text=True, check=True).stdout
    return [word.split("/")[0] for line in listed.splitlines() for word in line.split()[2:]]


def test_no_address_of_the_machine_answers(run: Run, service: int) -> None:
    assert _addresses(), "the machine has addresses to try"
    with socket.create_connection(("127.0.0.1", service), 1) as control:
        assert control.recv(10) == b"machine\n", "the service itself works"
    for address in _addresses():
        assert probe(run, address, service, seconds=0.5) != "machine", f"{address} answers"


def test_no_address_of_the_real_network_answers(run: Run) -> None:
    routes = subprocess.run(["ip", "-4", "route", "show", "default"], capture_output=True, text=True).stdout
    # A gateway with a documentation address would be the lab's own router.
    gateways = [address for address in routes.split()[2:3] if not address.startswith("192.0.2.")]
    for address in (*gateways, "1.1.1.1", "8.8.8.8"):
        for port in (53, 80, 443):
            assert probe(run, address, port, seconds=0.5) in ("silent", "ENETUNREACH", "EHOSTUNREACH")


def test_names_of_the_real_internet_do_not_exist(run: Run) -> None:
    for name in ("example.com", "amazonaws.com", "ec2.eu-west-1.amazonaws.com"):
        assert run("getent", "ahosts", name, check=False).returncode != 0, name


def test_aws_is_the_lab(run: Run) -> None:
    assert run("getent", "ahostsv4", "ec2.us-east-1.amazonaws.com").stdout.split()[0] == layout.AWS_ADDRESS


def test_there_is_no_ipv6(run: Run) -> None:
    program = "import socket; s = socket.socket(socket.AF_INET6); s.settimeout(1); s.connect(('2001:db8::1', 80))"
    assert "OSError" in run("python3", "-c", program, check=False).stderr


def test_a_host_sees_only_its_own_interfaces_and_processes(instance: Instance) -> None:
    links = instance.run("ip", "-brief", "link").stdout.splitlines()
    assert sorted(line.split()[0].split("@")[0] for line in links) == ["eth0", "lo"]
    names = instance.run("sh", "-c", "cat /proc/[0-9]*/comm").stdout.split()
    assert Path("/proc/self/comm").read_text().strip() not in names
