"""`make status` while a node dies and a reload leaves a session behind. The tests build on one another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.deployments import DOMAIN, Deployment, prepare
from tests.lab.labs import CHECKOUT, eventually

HOLD = """
import ssl, sys
from websockets.sync.client import connect
trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
with connect(sys.argv[1], ssl=trusting, open_timeout=10):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("status"))
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


def status(deployment: Deployment) -> dict[str, Any]:
    shown = deployment.run("make", "status", f"STACK={deployment.stack}", "ARGS=--json").stdout
    found: dict[str, Any] = json.loads(shown)
    return found


def test_every_node_is_up_and_every_host_answers(deployment: Deployment) -> None:
    seen = status(deployment)
    assert seen["haproxy"]["running"]
    assert seen["haproxy"]["version"].startswith("3.")
    assert {name: node.get("state") for name, node in seen["nodes"].items()} == {
        "lb-1": None, "origin-1": "up", "edge-1": "up",
    }  # fmt: skip
    assert {node["service"] for node in seen["nodes"].values()} == {None, "active"}
    assert all(node["uptimeSeconds"] > 0 for node in seen["nodes"].values())
    assert DOMAIN in seen["certificate"]["names"]


def test_the_screen_is_plain_where_there_is_no_terminal(deployment: Deployment) -> None:
    shown = deployment.run("make", "status", f"STACK={deployment.stack}").stdout
    assert "\x1b" not in shown
    assert [line for line in shown.splitlines() if line.startswith("edge-1") and " up " in line], shown


def test_a_reload_leaves_an_old_worker_for_an_open_web_socket(deployment: Deployment) -> None:
    command = [
        sys.executable, "-m", "lab", "--lab", deployment.lab.name, "client", "--",
        sys.executable, "-c", HOLD, f"wss://{DOMAIN}/LiveApp/websocket",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holding:
        assert holding.stdout is not None
        assert holding.stdout.readline() == "open\n"
        deployment.lab.host("lb-1", "systemctl", "reload", "haproxy")
        seen = status(deployment)["haproxy"]
        holding.communicate(timeout=20)
    assert any(worker["connections"] for worker in seen["oldWorkers"]), seen
    assert seen["lastLoadSeconds"] < 60


def test_a_node_that_was_powered_off_is_down(deployment: Deployment) -> None:
    deployment.lab.command("kill", "edge-1")
    eventually(lambda: status(deployment)["nodes"]["edge-1"]["state"], "down", 60)
    node = status(deployment)["nodes"]["edge-1"]
    assert (node["service"], node["uptimeSeconds"]) == (None, None)
    assert status(deployment)["nodes"]["origin-1"]["state"] == "up"
