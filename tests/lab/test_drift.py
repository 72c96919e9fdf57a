"""`make drift`: what is changed on hosts by hand is found, nothing else is, and what it tells mends it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.deployments import Deployment, prepare

RED5 = "/usr/local/antmedia/conf/red5.properties"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("drift"), "lab-cluster")
    made.edit(lambda config: config["antmedia:media"].update(origins={"count": 1, "instanceType": "c6i.xlarge"}))
    made.edit(lambda config: config["antmedia:media"].update(edges={"count": 1, "instanceType": "c6i.xlarge"}))
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


@pytest.fixture(scope="module")
def so_far() -> set[tuple[str, str, str]]:
    """What the tests before have changed by hand."""
    return set()


def drift(deployment: Deployment, code: int) -> dict[str, Any]:
    """What the command tells a machine."""
    done = deployment.run(sys.executable, "-m", "tools.drift", deployment.stack, "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_was_just_deployed_differs_in_nothing(deployment: Deployment) -> None:
    assert drift(deployment, 0)["findings"] == []
    said = deployment.run("make", "drift", f"STACK={deployment.stack}").stdout
    assert said.endswith("Nothing differs on 4 hosts.\n")


def test_no_secret_is_told(deployment: Deployment, so_far: set[tuple[str, str, str]]) -> None:
    """The login of the statistics page and a file that holds the password of the database differ."""
    deployment.lab.host("lb-1", "sh", "-c", "echo '    user other insecure-password x' >>/etc/haproxy/stats-users.cfg")
    deployment.lab.host("edge-1", "sh", "-c", "echo '# mine' >>" + RED5)
    so_far.add(("lb-1", "content", "/etc/haproxy/stats-users.cfg"))
    told = json.dumps(drift(deployment, 2))
    for secret in ("insecure-password", deployment.password("stats"), deployment.password("databaseLogin")):
        assert secret not in told


def spoilt(deployment: Deployment) -> set[tuple[str, str, str]]:
    """Node, kind and subject of every difference."""
    found = drift(deployment, 2)["findings"]
    return {(each["node"], each["what"], each["subject"].rpartition(" in ")[2]) for each in found}


@pytest.mark.parametrize(
    ("node", "by_hand", "found"),
    [
        ("lb-1", "echo '# mine' >>/etc/haproxy/haproxy.cfg", ("content", "/etc/haproxy/haproxy.cfg")),
        ("lb-1", "chmod 777 /usr/local/sbin/antmedia-node", ("mode", "/usr/local/sbin/antmedia-node")),
        ("lb-1", "rm /usr/local/sbin/antmedia-certificate", ("presence", "/usr/local/sbin/antmedia-certificate")),
        ("lb-1", "systemctl stop antmedia-certificate.timer", ("active", "antmedia-certificate.timer")),
        ("lb-1", "systemctl disable haproxy.service", ("enabled", "haproxy.service")),
        ("lb-1", "apt-mark hold socat", ("package", "socat")),
        ("edge-1", "sed -i 's/^server.licence_key=.*/server.licence_key=x/' " + RED5, ("property", RED5)),
        ("edge-1", "chmod 644 " + RED5, ("mode", RED5)),
        ("edge-1", "systemctl stop antmedia", ("active", "antmedia.service")),
        (
            "origin-1",
            "cat /etc/ssh/ssh_host_ed25519_key.pub >>/home/deploy/.ssh/authorized_keys",
            ("content", "/home/deploy/.ssh/authorized_keys"),
        ),
        ("db-1", "chown nobody /etc/mongod.conf", ("owner", "/etc/mongod.conf")),
        ("db-1", "systemctl stop mongod", ("active", "mongod.service")),
        (
            "db-1",
            "touch /etc/systemd/system/antmedia-database-backup.timer",
            ("presence", "/etc/systemd/system/antmedia-database-backup.timer"),
        ),
    ],
)
def test_what_is_changed_by_hand_is_found_and_nothing_else(
    deployment: Deployment, so_far: set[tuple[str, str, str]], node: str, by_hand: str, found: tuple[str, str]
) -> None:
    deployment.lab.host(node, "sh", "-c", by_hand)
    so_far.add((node, *found))
    assert spoilt(deployment) == so_far


def test_what_is_told_mends_it_all(deployment: Deployment) -> None:
    told = drift(deployment, 2)
    for command in told["mend"]:
        words = shlex.split(command)
        deployment.run(*words, *(["--yes", "--skip-preview"] if words[0] == "tools/pulumi" else []))
    assert drift(deployment, 0)["findings"] == []


def test_a_text_that_differs_is_shown_line_by_line(deployment: Deployment) -> None:
    deployment.lab.host("lb-1", "sh", "-c", "echo '# mine' >>/etc/haproxy/haproxy.cfg")
    said = deployment.run("make", "drift", f"STACK={deployment.stack}", check=False).stdout
    assert "\n    +# mine\n" in said
    assert "--replace '**::lb-1-configure'" in said
    deployment.lab.host("lb-1", "sed", "-i", "/^# mine$/d", "/etc/haproxy/haproxy.cfg")


def test_a_host_that_hangs_is_a_difference(deployment: Deployment) -> None:
    deployment.lab.command("pause", "edge-1")
    try:
        told = drift(deployment, 2)
    finally:
        deployment.lab.command("heal", "edge-1")
    assert [(each["node"], each["what"]) for each in told["findings"]] == [("edge-1", "host")]
    assert told["mend"] == [f"has the host died? Then: make repair STACK={deployment.stack} NODE=edge-1"]


def test_a_change_of_the_stack_file_that_is_not_deployed_yet_is_a_difference(deployment: Deployment) -> None:
    deployment.edit(lambda config: config["antmedia:loadBalancer"].update(maxConnections=3000))
    told = drift(deployment, 2)
    assert {(each["node"], each["subject"]) for each in told["findings"]} == {("lb-1", "/etc/haproxy/haproxy.cfg")}
    deployment.up()
    assert drift(deployment, 0)["findings"] == []
