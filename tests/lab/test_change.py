"""A live stream and its viewers while the cluster changes: what they lose, which each test prints."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cluster import keys
from tests.lab import media
from tests.lab.deployments import DOMAIN, Deployment, cluster_list, frames_played, prepare, publishing
from tests.lab.labs import CHECKOUT, eventually
from tests.patience import PATIENCE

STREAM = "live"
PUT = ("/usr/local/sbin/antmedia-haproxy-put", "/etc/haproxy/haproxy.cfg", "644")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("change"), "lab-cluster")
    made.edit(lambda config: config["antmedia:media"].update(drainMinutes=1))
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


@dataclass(frozen=True)
class Stream:
    """A live stream: its publisher, and the name of the origin that has it."""

    sending: subprocess.Popen[bytes]
    origin: str


@pytest.fixture(scope="module")
def stream(deployment: Deployment) -> Iterator[Stream]:
    """Published to the public address."""
    with publishing(deployment, STREAM) as sending:
        playlist = f"https://{DOMAIN}/LiveApp/streams/{STREAM}.m3u8"
        eventually(lambda: deployment.fetch(playlist).count("#EXTINF") >= 2, True, 60)
        shown = deployment.lab.host("lb-1", "sh", "-c", "echo show stat | socat - /run/haproxy/admin.sock").stdout
        rows = [row.split(",") for row in shown.splitlines()]
        (origin,) = [row[1] for row in rows if row[0] == "rtmp" and row[1].startswith("origin") and row[4] != "0"]
        yield Stream(sending, origin)


@contextlib.contextmanager
def watching(deployment: Deployment, what: str, staying: int = 0) -> Iterator[dict[str, Any]]:
    """Viewers while the block runs; afterwards the dict says what they lost, which is printed."""
    command = [
        sys.executable, "-m", "lab", "--lab", deployment.lab.name, "client", "--",
        sys.executable, str(CHECKOUT / "tests/lab/watch.py"), DOMAIN, STREAM, str(staying),
    ]  # fmt: skip
    seen: dict[str, Any] = {}
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "watching\n"
        yield seen
        seen |= json.loads(running.communicate(timeout=PATIENCE)[0])
    print(f"\n{what}: {json.dumps(seen)}")


def assert_nothing_lost(seen: dict[str, Any], stream: Stream) -> None:
    assert stream.sending.poll() is None, "the publisher was cut"
    assert (seen["hls"]["lost"], seen["wss"]["lost"], seen["rtmp"]["lost"]) == (0, 0, 0), seen
    hls = seen["hls"]
    assert hls["segments"] >= 8, "somebody watched"
    # Between two segments is one segment's length; when one is missing, two.
    assert hls["longest_wait_seconds"] <= 2 * hls["segment_seconds"] + 1, seen
    assert seen["wss"]["ended"] > 0
    assert seen["rtmp"]["ended"] > 0


def urn(deployment: Deployment, ending: str) -> str:
    state = json.loads(deployment.pulumi("stack", "export").stdout)["deployment"]["resources"]
    (found,) = [str(each["urn"]) for each in state if each["urn"].endswith(ending)]
    return found


def instances(deployment: Deployment) -> dict[str, str]:
    """Ids by node name."""
    return {host["name"].removeprefix("antmedia-lab-cluster-"): host["instance"] for host in deployment.lab.status()}


def listed(deployment: Deployment) -> list[str]:
    """The private addresses in the cluster's own list, dead ones too."""
    return sorted(str(node["ip"]).partition(":")[0] for node in json.loads(cluster_list(deployment)))


def test_an_edge_is_removed_and_those_who_stay_to_the_end_are_cut_and_counted(
    deployment: Deployment, stream: Stream
) -> None:
    gone = deployment.outputs()["nodes"]["edge-3"]["privateAddress"]
    assert gone in listed(deployment)
    with watching(deployment, "an edge is removed", staying=6) as seen:
        deployment.edit(lambda config: config["antmedia:media"]["edges"].update(count=2))
        said = deployment.up()
    assert_nothing_lost(seen, stream)
    cut = re.search(r"edge-3: drained for (\d+) s, sessions still there, which are cut: (\d+)", said)
    assert cut, said
    assert int(cut[1]) in range(60, 75)
    assert int(cut[2]) == seen["stay"]["cut"] > 0, "as many as the deployment says"
    assert gone not in listed(deployment)
    assert "edge-3" not in instances(deployment)
    deployment.pulumi("preview", "--expect-no-changes")


def test_all_edges_are_replaced(deployment: Deployment, stream: Stream) -> None:
    before = instances(deployment)
    with watching(deployment, "all edges are replaced") as seen:
        replaced = [f"--replace={urn(deployment, f'Instance::edge-{number}')}" for number in (1, 2)]
        said = deployment.pulumi("up", "--yes", "--skip-preview", "--color", "never", *replaced).stdout
    assert_nothing_lost(seen, stream)
    after = instances(deployment)
    assert {name for name in after if after[name] != before[name]} == {"edge-1", "edge-2"}
    assert len(listed(deployment)) == 4, "their predecessors are not in the cluster's list"
    assert said.index("edge-1: takes sessions") < said.index("edge-2: drained for"), "one after the other"
    deployment.pulumi("preview", "--expect-no-changes")


def test_the_other_origin_is_repaired(deployment: Deployment, stream: Stream) -> None:
    (other,) = {"origin-1", "origin-2"} - {stream.origin}
    before = instances(deployment)
    with watching(deployment, "the other origin is replaced") as seen:
        deployment.run("make", "repair", f"STACK={deployment.stack}", f"NODE={other}", "ARGS=--yes")
    assert_nothing_lost(seen, stream)
    after = instances(deployment)
    assert {name for name in after if after[name] != before[name]} == {other}
    deployment.pulumi("preview", "--expect-no-changes")


def test_the_database_restarts(deployment: Deployment, stream: Stream) -> None:
    with watching(deployment, "the database restarts") as seen:
        for _ in range(2):
            deployment.lab.host("db-1", "systemctl", "restart", "mongod")
            deployment.lab.host("db-1", "sleep", "5")
    assert_nothing_lost(seen, stream)


def test_the_configuration_of_the_load_balancer_changes_ten_times(deployment: Deployment, stream: Stream) -> None:
    good = deployment.lab.host("lb-1", "cat", PUT[1]).stdout
    with watching(deployment, "ten reloads") as seen:
        for number in range(10):
            text = good if number == 9 else f"{good}# {number}\n"
            said = deployment.lab.host("lb-1", *PUT, stdin=text).stdout
            assert "reloading HAProxy" in said
            deployment.lab.host("lb-1", "sleep", "1")
    assert_nothing_lost(seen, stream)


def test_the_passwords_are_rotated(deployment: Deployment, stream: Stream) -> None:
    """The database's restarts every media server, in turn: the publisher's only once it has gone, so not here."""
    old = deployment.password("administrator")
    with watching(deployment, "the administrator's and the statistics' passwords") as seen:
        deployment.edit(
            lambda config: config.update(
                {
                    "antmedia:administrator": {"password": "another-password-1", "previousPassword": old},
                    "antmedia:stats": {"password": "another-password-2"},
                }
            )
        )
        deployment.up()
    assert_nothing_lost(seen, stream)
    assert listed(deployment), "the dashboard lets the new password in"
    login = ("-u", "stats:another-password-2", "-o", "/dev/null", "-w", "%{http_code}")
    statistics = deployment.lab.admin("curl", "-sk", "-m", "5", *login, f"https://{DOMAIN}:6080/haproxy_stats")
    assert statistics.stdout == "200"


def test_the_login_key_is_rotated_and_no_host_replaced(deployment: Deployment, stream: Stream) -> None:
    before = instances(deployment)
    shown = json.loads(deployment.pulumi("config", "--show-secrets", "--json").stdout)
    old, new = json.loads(shown["antmedia:ssh"]["value"])["privateKey"], keys.new_private_key()

    def login_keys(**found: str) -> None:
        deployment.edit(lambda config: config.update({"antmedia:ssh": found}))
        deployment.up()

    with watching(deployment, "the login key") as seen:
        login_keys(privateKey=new, previousPrivateKey=old)
        login_keys(privateKey=new)
    assert_nothing_lost(seen, stream)
    assert instances(deployment) == before
    for node in before:
        kept = deployment.lab.host(node, "cat", "/home/deploy/.ssh/authorized_keys").stdout
        assert kept == f"{keys.public_key(new)}\n", node
    deployment.run("make", "ssh", f"STACK={deployment.stack}", "NODE=edge-1", "ARGS=-- true")
    deployment.pulumi("preview", "--expect-no-changes")


def test_without_draining_sessions_are_lost(deployment: Deployment, stream: Stream) -> None:
    """The control: the same viewers notice that an edge goes at once."""
    with watching(deployment, "control: an edge ends without a drain", staying=6) as seen:
        deployment.lab.api("ec2").terminate_instances(InstanceIds=[instances(deployment)["edge-1"]])
        deployment.pulumi("up", "--yes", "--skip-preview", "--refresh")
    assert seen["wss"]["lost"] + seen["stay"]["cut"] > 0, seen
    deployment.pulumi("preview", "--expect-no-changes")


def test_a_cluster_of_another_image_grows_shrinks_and_has_another_load_balancer_in_one_update(
    deployment: Deployment,
) -> None:
    """Everybody is cut: there is one load balancer."""

    def change(config: dict[str, Any]) -> None:
        config["antmedia:media"].update(ami=media.ANOTHER_STAND_IN)
        config["antmedia:media"]["origins"].update(count=1)
        config["antmedia:media"]["edges"].update(count=3)

    before = instances(deployment)
    deployment.edit(change)
    balancer = f"--replace={urn(deployment, 'Instance::lb-1')}"
    deployment.pulumi("up", "--yes", "--skip-preview", balancer)
    after = instances(deployment)
    assert set(after) == {"lb-1", "db-1", "origin-1", "edge-1", "edge-2", "edge-3"}
    assert {name for name in before if after.get(name) == before[name]} == {"db-1"}
    with publishing(deployment, "after"):
        eventually(lambda: frames_played(deployment, f"rtmp://{DOMAIN}/LiveApp/after") >= 15, True, 60)
    deployment.pulumi("preview", "--expect-no-changes")
