"""Elastic and public addresses lead where EC2 says, and everybody sees the addresses that EC2 would show."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.labs import Instance, Lab, Network, eventually, from_anywhere, probe
from tests.patience import PATIENCE

CLIENT, ADMIN = "192.0.2.10", "192.0.2.20"


@pytest.fixture(scope="module")
def pair(network: Network) -> Iterator[tuple[Instance, Instance]]:
    group = network.group("open", ingress=(from_anywhere("tcp", 8000), from_anywhere("tcp", 8001)))
    pair = network.launch("one", group), network.launch("two", group)
    pair[0].ready().serve(8000)
    pair[1].ready().serve(8000, 8001)
    yield pair


def _elastic(lab: Lab, instance: Instance) -> tuple[str, str]:
    ec2 = lab.ec2()
    made = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=made["AllocationId"], InstanceId=instance.id)
    return made["PublicIp"], made["AllocationId"]


def test_the_engine_connects_from_the_admins_address(pair: tuple[Instance, Instance], lab: Lab) -> None:
    def engine(*command: str, stdin: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["ip", "netns", "exec", lab.name, *command], input=stdin, capture_output=True, text=True)

    assert probe(engine, pair[0].public, 8000) == ADMIN


def test_between_instances_a_public_address_shows_the_callers_public_address(pair: tuple[Instance, Instance]) -> None:
    one, two = pair
    assert probe(one.run, two.private, 8000) == one.private
    assert probe(one.run, two.public, 8000) == one.public
    assert probe(one.run, one.public, 8000) == one.public, "an instance reaches itself by its public address"


def test_an_instance_on_the_internet_shows_its_public_address(pair: tuple[Instance, Instance], lab: Lab) -> None:
    listener = "import socket; s = socket.create_server(('', 7000)); c, a = s.accept(); print(a[0]); c.sendall(b'ok')"
    waiting = subprocess.Popen(
        ["ip", "netns", "exec", f"{lab.name}.admin", "python3", "-c", listener], stdout=subprocess.PIPE, text=True
    )
    eventually(lambda: probe(pair[0].run, ADMIN, 7000), "ok", seconds=5.0)
    assert waiting.communicate(timeout=PATIENCE)[0].strip() == pair[0].public


def test_an_elastic_ip_moves_to_another_instance(pair: tuple[Instance, Instance], lab: Lab) -> None:
    one, two = pair
    address, allocation = _elastic(lab, one)
    # Port 8001 answers on the second instance only.
    eventually(lambda: probe(lab.client, address, 8001, seconds=0.3), "refused", seconds=3.0)
    lab.ec2().associate_address(AllocationId=allocation, InstanceId=two.id, AllowReassociation=True)
    eventually(lambda: probe(lab.client, address, 8001, seconds=0.3), CLIENT, seconds=10.0)
    assert two.public == address
    lab.ec2().release_address(AllocationId=_free(lab, allocation))


def test_a_connection_over_a_lost_address_dies(pair: tuple[Instance, Instance], lab: Lab) -> None:
    one, _ = pair
    address, allocation = _elastic(lab, one)
    eventually(lambda: probe(lab.client, address, 8000, seconds=0.3), CLIENT, seconds=3.0)
    program = f"""
import socket, sys
s = socket.create_connection(("{address}", 8000), 3)
print(s.recv(100).decode().split()[0], flush=True)
sys.stdin.readline()
s.settimeout(1.5)
s.sendall(b"xx")
s.shutdown(socket.SHUT_WR)
try: print("alive" if s.recv(100) == b"" else "talks", flush=True)
except OSError: print("dead", flush=True)
"""
    holding = subprocess.Popen(
        ["ip", "netns", "exec", f"{lab.name}.client", "python3", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holding.stdout is not None and holding.stdout.readline().strip() == CLIENT
    _free(lab, allocation)
    eventually(lambda: probe(lab.client, address, 8000, seconds=0.3), "silent", seconds=3.0)
    assert holding.communicate("go\n", timeout=PATIENCE)[0].strip() == "dead"
    lab.ec2().release_address(AllocationId=allocation)


def test_a_name_under_test_is_the_one_elastic_ip(pair: tuple[Instance, Instance], lab: Lab) -> None:
    ask = ("getent", "ahostsv4", "anything.example.test")
    assert lab.client(*ask, check=False).returncode != 0
    address, allocation = _elastic(lab, pair[0])
    for run in (lab.client, lab.admin, pair[1].run):
        assert run(*ask).stdout.split()[0] == address
    lab.command("dns", "other.test", "192.0.2.33")
    assert lab.client("getent", "ahostsv4", "other.test").stdout.split()[0] == "192.0.2.33"
    lab.command("dns", "other.test", "-")
    assert lab.client("getent", "ahostsv4", "other.test").stdout.split()[0] == address
    lab.ec2().release_address(AllocationId=_free(lab, allocation))


def test_a_route_53_record_is_answered(pair: tuple[Instance, Instance], lab: Lab) -> None:
    route53 = lab.api("route53")
    zone = route53.create_hosted_zone(Name="example.org", CallerReference="1")["HostedZone"]["Id"]
    record = {"Name": "www.example.org", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "198.51.100.200"}]}

    def change(action: str) -> None:
        route53.change_resource_record_sets(
            HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        )

    change("CREATE")
    assert pair[0].run("getent", "ahostsv4", "www.example.org").stdout.split()[0] == "198.51.100.200"
    assert lab.client("getent", "ahostsv4", "www.example.org").stdout.split()[0] == "198.51.100.200"
    change("DELETE")
    route53.delete_hosted_zone(Id=zone)
    assert lab.client("getent", "ahostsv4", "www.example.org", check=False).returncode != 0


def _free(lab: Lab, allocation: str) -> str:
    ec2 = lab.ec2()
    address = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]
    ec2.disassociate_address(AssociationId=address["AssociationId"])
    return allocation
