"""Two origins, three edges and their database, deployed by the unchanged program: one cluster, seen from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.lab import labs
from tests.lab.deployments import DOMAIN, Deployment, cluster_list, frames_played, prepare, publishing
from tests.lab.labs import eventually

SITE = f"https://{DOMAIN}"
ADDRESSES = {
    "origin-1": "172.30.0.32",
    "origin-2": "172.30.1.32",
    "edge-1": "172.30.0.132",
    "edge-2": "172.30.1.132",
    "edge-3": "172.30.0.133",
}
NODES = tuple(ADDRESSES)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("cluster"), "lab-cluster")
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


def ask(deployment: Deployment, node: str, path: str, *options: str) -> str:
    """What a node itself answers the load balancer's host."""
    url = f"http://{ADDRESSES[node]}:5080{path}"
    return deployment.lab.host("lb-1", "curl", "-s", "-m", "10", *options, url).stdout


def test_the_update_ends_with_every_node_in_the_clusters_list(deployment: Deployment) -> None:
    listed = cluster_list(deployment)
    nodes = deployment.outputs()["nodes"]
    for name, address in ADDRESSES.items():
        assert nodes[name]["privateAddress"] == address
        assert re.search(rf'"{address}[":]', listed), f"{name} is not in {listed}"


def test_a_second_update_changes_nothing(deployment: Deployment) -> None:
    deployment.pulumi("preview", "--expect-no-changes")


def test_the_first_user_is_one_for_all_nodes(deployment: Deployment) -> None:
    user = {"email": "admin@antmedia.invalid", "password": deployment.password("administrator")}
    for node, address in ADDRESSES.items():
        for what, success in (("initial", False), ("authenticate", True)):
            answer = deployment.lab.host(
                "lb-1", "curl", "-s", "-m", "5", "-H", "Content-Type: application/json", "--data-binary", "@-",
                f"http://{address}:5080/rest/v2/users/{what}", stdin=json.dumps(user),
            ).stdout  # fmt: skip
            assert json.loads(answer)["success"] is success, f"{node}: {answer}"


def test_a_stream_published_to_the_public_address_plays_from_every_node(deployment: Deployment) -> None:
    with publishing(deployment, "everywhere"):
        playlist = "/LiveApp/streams/everywhere.m3u8"
        for node in NODES:
            eventually(lambda node=node: ask(deployment, node, playlist).count("#EXTINF") >= 2, True, 60)  # type: ignore[misc]
            codes = []
            for _ in range(10):  # each time the newest segment: none is kept for long
                *lines, code = ask(deployment, node, playlist, "-w", "\n%{http_code}").splitlines()
                newest = [line for line in lines if line.endswith(".ts")][-1]
                codes.append(code)
                segment = f"/LiveApp/streams/{newest}"
                codes.append(ask(deployment, node, segment, "-o", "/dev/null", "-w", "%{http_code}"))
            assert codes == ["200"] * 20, f"{node}: {codes}"
        # Each viewer's request meets whichever node there is.
        for _ in range(10):
            shown = deployment.fetch(SITE + playlist)
            last = [line for line in shown.splitlines() if line.endswith(".ts")][-1]
            code = deployment.fetch(f"{SITE}/LiveApp/streams/{last}", "-o", "/dev/null", "-w", "%{http_code}")
            assert code == "200", last
        assert frames_played(deployment, f"rtmp://{DOMAIN}/LiveApp/everywhere") >= 15
        assert frames_played(deployment, SITE + playlist) >= 15


def test_the_databases_password_is_nowhere_but_where_it_must_be(deployment: Deployment) -> None:
    password = deployment.password("databaseLogin")
    state = deployment.pulumi("stack", "export").stdout
    assert password not in state
    for node in ("origin-1", "edge-1"):
        held = "/usr/local/antmedia/conf /usr/local/antmedia/webapps /usr/local/antmedia/log /var/log /etc /tmp"
        found = deployment.lab.host(node, "sh", "-c", f"grep -rlsF -- '{password}' {held}", check=False).stdout.split()
        home = "/usr/local/antmedia"
        assert f"{home}/conf/red5.properties" in found
        for file in found:
            assert re.fullmatch(rf"{home}/(conf/red5|webapps/\w+/WEB-INF/red5-web)\.properties", file), file
            assert deployment.lab.host(node, "stat", "-c", "%a", file).stdout.strip() == "600", file
        journal = deployment.lab.host(node, "journalctl", "--no-pager").stdout
        assert password not in journal
    user_data = deployment.lab.host("edge-1", "cat", "/var/lib/cloud/instance/user-data.txt").stdout
    assert password not in user_data


def test_only_the_load_balancer_is_reached_by_ssh_and_every_other_host_through_it(deployment: Deployment) -> None:
    for node, found in deployment.outputs()["nodes"].items():
        if found["publicAddress"]:
            answer = labs.probe(deployment.lab.admin, found["publicAddress"], 22)
            assert answer.startswith("SSH-2.0-") if node == "lb-1" else answer == "silent", f"{node}: {answer}"
    addresses = {**ADDRESSES, "lb-1": "172.30.0.10"}
    for node, address in addresses.items():
        said = deployment.run("make", "ssh", f"STACK={deployment.stack}", f"NODE={node}", "ARGS=-- hostname -I").stdout
        assert address in said


def test_a_node_that_cannot_reach_the_database_fails_the_update_and_says_so(deployment: Deployment) -> None:
    database = deployment.outputs()["nodes"]["db-1"]["privateAddress"]
    state = json.loads(deployment.pulumi("stack", "export").stdout)["deployment"]["resources"]
    (joined,) = [each["urn"] for each in state if each["urn"].endswith("::edge-2-joined")]
    deployment.lab.host("edge-2", "ip", "route", "add", "unreachable", database)
    try:
        deployment.lab.host("edge-2", "systemctl", "restart", "antmedia", check=False)
        failed = deployment.pulumi("up", "--yes", "--skip-preview", f"--target-replace={joined}", check=False)
    finally:
        deployment.lab.host("edge-2", "ip", "route", "del", "unreachable", database)
        deployment.lab.host("edge-2", "systemctl", "restart", "antmedia", check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert f"the database at {database}:27017 cannot be reached" in said
    assert deployment.password("databaseLogin") not in said
    deployment.up()


def test_rebuilding_the_load_balancer_restarts_no_media_server(deployment: Deployment) -> None:
    def started() -> dict[str, str]:
        return {
            node: deployment.lab.host(node, "systemctl", "show", "antmedia", "-P", "MainPID").stdout for node in NODES
        }

    before = started()
    deployment.run("make", "repair", f"STACK={deployment.stack}", "NODE=lb-1", "ARGS=--yes")
    assert started() == before
    deployment.pulumi("preview", "--expect-no-changes")


def test_a_wrong_licence_fails_the_update_and_is_told_as_such(deployment: Deployment) -> None:
    def license_key(key: str) -> None:
        deployment.edit(lambda config: config.update({"antmedia:license": {"key": key}}))

    license_key("LAB-INVALID")
    failed = deployment.pulumi("up", "--yes", "--skip-preview", check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "the licence service says that license.key is invalid" in said
    assert "LAB-INVALID" not in said
    license_key("LAB-1234")
    deployment.up()
    found = deployment.lab.host("edge-3", "grep", "licence", "/usr/local/antmedia/conf/red5.properties").stdout
    assert found.strip() == "server.licence_key=LAB-1234"
    deployment.edit(lambda config: config.pop("antmedia:license"))
    deployment.up()
    deployment.pulumi("preview", "--expect-no-changes")
