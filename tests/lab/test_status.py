"""`make status` of a deployed stack: what it says is what happens. The tests build on one another."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from tests.lab.deployments import DOMAIN, PICTURES, Deployment, prepare, publishing
from tests.lab.labs import CHECKOUT, eventually
from tests.patience import PATIENCE
from tools.live.screen import screen
from tools.live.status import Status

DETECTION_SECONDS = 3.0
"""Within which HAProxy finds a dead node: docs/decisions/haproxy.md."""

STAYING = """
import asyncio, ssl, sys
from websockets.asyncio.client import connect
trusting = ssl._create_unverified_context()
async def stay(url):
    async with connect(url, ssl=trusting, open_timeout=60):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(stay(sys.argv[1]))
"""
"""A WebSocket that stays open until its input ends."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("status"))
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


def said(deployment: Deployment, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return deployment.run("make", "status", f"STACK={deployment.stack}", f"ARGS={' '.join(arguments)}", check=check)


def seen(deployment: Deployment) -> dict[str, Any]:
    """The document, with the nodes by name."""
    found: dict[str, Any] = json.loads(said(deployment, "--json").stdout)
    return {**found, "nodes": {node.pop("name"): node for node in found["nodes"]}}


def draw(document: dict[str, Any]) -> None:
    """The screen as a picture, in a fixed-width font of whoever looks at it."""
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(screen(Status.model_validate(document)))
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="make status"), flags=re.DOTALL)
    PICTURES.joinpath("status.svg").write_text(drawn.replace("Fira Code, ", ""))


def test_every_node_is_up_and_has_the_image_of_its_stack_file(deployment: Deployment) -> None:
    found = seen(deployment)
    assert found["problems"] == []
    assert found["stack"] == "lab"
    nodes = found["nodes"]
    assert {name: (node["role"], node["state"]) for name, node in nodes.items()} == {
        "origin-1": ("origin", "up"),
        "edge-1": ("edge", "up"),
    }
    assert {node["image"] for node in nodes.values()} == {"ami-0ddd0000000000001"}
    assert {node["lastCheck"]["outcome"] for node in nodes.values()} == {"L7OK"}
    balancer = found["loadBalancer"]
    assert balancer["address"] == deployment.outputs()["loadBalancerAddress"]
    assert balancer["image"] == "ami-0ccc0000000001302"
    installed = deployment.lab.host("lb-1", "haproxy", "-v").stdout
    assert f"version {balancer['version']} " in installed


def test_the_certificate_is_the_one_that_viewers_see(deployment: Deployment) -> None:
    shown = deployment.lab.client(
        "sh", "-c", f"openssl s_client -connect {DOMAIN}:443 -servername {DOMAIN} </dev/null 2>/dev/null | "
        "openssl x509 -noout -enddate -dateopt iso_8601",
    ).stdout  # fmt: skip
    ends = datetime.fromisoformat(shown.strip().removeprefix("notAfter="))
    found = seen(deployment)["certificate"]
    assert set(found["names"]) == {DOMAIN, "www.example.test"}
    assert datetime.fromisoformat(found["ends"]) == ends
    assert abs(timedelta(days=found["daysLeft"] + 0.5) - (ends - datetime.now(UTC))) <= timedelta(days=0.51)


def test_a_publisher_is_a_session_by_rtmp_on_its_origin(deployment: Deployment) -> None:
    with publishing(deployment, "looked-at"):
        eventually(lambda: seen(deployment)["nodes"]["origin-1"]["rtmpConnections"], 1, 30)
        assert seen(deployment)["nodes"]["origin-1"]["sessions"] >= 1
    eventually(lambda: seen(deployment)["nodes"]["origin-1"]["rtmpConnections"], 0, 30)


def test_a_session_that_outlasts_a_reload_is_shown_in_an_old_worker(deployment: Deployment) -> None:
    before = seen(deployment)["loadBalancer"]
    with subprocess.Popen(
        [
            sys.executable, "-m", "lab", "--lab", deployment.lab.name, "client", "--",
            sys.executable, "-c", STAYING, f"wss://{DOMAIN}/LiveApp/websocket",
        ],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as staying:  # fmt: skip
        assert staying.stdout and staying.stdin
        assert staying.stdout.readline() == "open\n"
        worker = int(deployment.haproxy()["worker"])
        deployment.lab.host("lb-1", "systemctl", "reload", "haproxy")
        eventually(lambda: [each["pid"] for each in seen(deployment)["loadBalancer"]["oldWorkers"]], [worker], 30)
        found = seen(deployment)
        after = found["loadBalancer"]
        assert after["reloads"] == before["reloads"] + 1
        assert after["lastReloadSeconds"] < 60
        assert after["uptimeSeconds"] >= before["uptimeSeconds"], "the master process is the same"
        assert after["oldWorkers"][0]["sessions"] == 1
        draw(json.loads(said(deployment, "--json").stdout))
        assert sum(node["sessions"] for node in found["nodes"].values()) == 1
        shown = said(deployment).stdout
        assert re.search(rf"(?m)^old workers +1 still finishing: {worker} \(.+ old, sessions: 1\)$", shown), shown
        staying.stdin.close()
    eventually(lambda: seen(deployment)["loadBalancer"]["oldWorkers"], [], 30)


def test_on_a_terminal_it_goes_on_until_ctrl_c(deployment: Deployment) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "ANTMEDIA_LAB": deployment.lab.name, "TERM": "xterm", "COLUMNS": "140"}
    with subprocess.Popen(
        [sys.executable, "-m", "tools.status", deployment.stack, "--every", "0.5"],
        cwd=deployment.checkout, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as running:  # fmt: skip
        os.close(theirs)
        drawn = ""
        deadline = time.monotonic() + PATIENCE
        while drawn.count("stack lab, ") < 3 and time.monotonic() < deadline:
            drawn += os.read(ours, 65536).decode(errors="replace")
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
        os.close(ours)
    assert drawn.count("stack lab, ") >= 3, drawn
    assert "edge-1" in drawn.rpartition("stack lab, ")[0]


def test_a_node_without_power_is_down_within_the_time_that_its_checks_take(deployment: Deployment) -> None:
    deployment.lab.command("kill", "edge-1")
    time.sleep(DETECTION_SECONDS)
    found = seen(deployment)
    assert {name: node["state"] for name, node in found["nodes"].items()} == {"origin-1": "up", "edge-1": "down"}
    (problem,) = found["problems"]
    assert problem.startswith("edge-1 is down (L4")
    assert problem.endswith("make repair STACK=lab NODE=edge-1.")
    assert f"! {problem}" in said(deployment).stdout
    deployment.lab.command("heal", "edge-1")
    eventually(lambda: seen(deployment)["nodes"]["edge-1"]["state"], "up", 60)


def test_haproxy_that_does_not_run_is_told_and_how_to_see_why(deployment: Deployment) -> None:
    deployment.lab.host("lb-1", "systemctl", "stop", "haproxy")
    done = said(deployment, "--json", check=False)
    assert done.returncode
    assert done.stdout == ""
    assert "HAProxy on it does not answer" in done.stderr
    deployment.lab.host("lb-1", "systemctl", "start", "haproxy")
    eventually(lambda: seen(deployment)["problems"], [], 30)


def test_a_load_balancer_that_cannot_be_reached_is_told_with_what_to_do(deployment: Deployment) -> None:
    deployment.lab.command("kill", "lb-1")
    done = said(deployment, "--once", check=False)
    assert done.returncode
    assert "The load balancer of the stack lab, lb-1, cannot be reached: ssh: " in done.stderr
    assert "make repair STACK=lab NODE=lb-1" in done.stderr
