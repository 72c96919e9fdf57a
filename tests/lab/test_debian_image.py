"""A booted Debian host is what Debian's own image is on AWS, as far as a deployment can tell."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import images
from tests.lab.labs import Instance, Lab, Network, eventually, from_anywhere

PLAIN, THREE_KEYS = "ami-0ccc0000000001302", "ami-0ccc0000000001303"


@pytest.fixture(scope="module")
def host_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ed25519 key that user data gives to the hosts."""
    path = tmp_path_factory.mktemp("keys") / "host"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def hosts(lab: Lab, network: Network, host_key: Path) -> Iterator[dict[str, Instance]]:
    """One host of each image, by AMI id; both get the same host key."""
    group = network.group("debian", ingress=(from_anywhere("tcp", 22),))
    keys = {"ed25519_private": host_key.read_text(), "ed25519_public": host_key.with_suffix(".pub").read_text()}
    made = {}
    for ami in (PLAIN, THREE_KEYS):
        images.ensure(images.for_ami(ami))
        run = lab.ec2().run_instances(
            ImageId=ami,
            InstanceType="t3.small",
            MinCount=1,
            MaxCount=1,
            UserData="#cloud-config\n" + json.dumps({"ssh_keys": keys}),
            NetworkInterfaces=[
                {"DeviceIndex": 0, "SubnetId": network.subnet, "AssociatePublicIpAddress": True, "Groups": [group]}
            ],
        )
        made[ami] = Instance(lab, ami, run["Instances"][0]["InstanceId"])
    for host in made.values():
        host.ready()
    yield made


def offered(lab: Lab, host: Instance) -> dict[str, str]:
    """Host keys that the SSH server offers to a viewer, by type."""
    said = lab.client("ssh-keyscan", "-T", "5", "-t", "rsa,ecdsa,ed25519", host.public).stdout
    return {line.split()[1]: line.split()[2] for line in said.splitlines() if not line.startswith("#")}


@pytest.mark.parametrize("ami", [PLAIN, THREE_KEYS])
def test_the_host_boots_without_a_failed_unit_or_a_warning_of_cloud_init(hosts: dict[str, Instance], ami: str) -> None:
    host = hosts[ami]
    eventually(lambda: host.run("systemctl", "is-system-running", check=False).stdout.strip(), "running", 20.0)
    status: dict[str, Any] = json.loads(host.run("cloud-init", "status", "--format", "json").stdout)
    assert status["extended_status"] == "done", status
    assert status["detail"] == "DataSourceEc2"


def test_the_login_user_is_admin_who_may_become_root(hosts: dict[str, Instance]) -> None:
    said = hosts[PLAIN].run("runuser", "-u", "admin", "--", "sudo", "--non-interactive", "id", "-un").stdout
    assert said.strip() == "root"


def test_the_plain_image_offers_the_given_host_key_only(hosts: dict[str, Instance], lab: Lab, host_key: Path) -> None:
    given = host_key.with_suffix(".pub").read_text().split()[1]
    assert offered(lab, hosts[PLAIN]) == {"ssh-ed25519": given}


def test_the_three_keys_image_offers_two_more_types_beside_the_given_key(
    hosts: dict[str, Instance], lab: Lab, host_key: Path
) -> None:
    keys = offered(lab, hosts[THREE_KEYS])
    assert set(keys) == {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"}
    assert keys["ssh-ed25519"] == host_key.with_suffix(".pub").read_text().split()[1]


def test_packages_install_and_their_services_start(hosts: dict[str, Instance]) -> None:
    host = hosts[PLAIN]
    script = (
        "export DEBIAN_FRONTEND=noninteractive; apt-get -q update && apt-get -q -y install haproxy && apt-get check"
    )
    host.run("sh", "-c", script)
    assert host.run("systemctl", "is-active", "haproxy", check=False).stdout.strip() == "active"
    assert host.run("dpkg", "--audit").stdout == ""


def test_hosts_share_neither_machine_id_nor_name(hosts: dict[str, Instance]) -> None:
    one, two = (host.run("cat", "/etc/machine-id", "/etc/hostname").stdout.split() for host in hosts.values())
    assert len(one[0]) == 32
    assert not set(one) & set(two)
