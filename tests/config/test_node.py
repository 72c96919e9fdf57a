"""antmedia-node with the real HAProxy and its real configuration: tests/config/node_scenario.py says what happens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cluster import haproxy, render
from cluster.templates import TEMPLATES
from lab import images
from tests.config.conftest import IMAGE
from tests.config.test_host_files import USERS, cluster
from tests.unit.cluster.conftest import VALID

SCENARIO = Path(__file__).parent / "node_scenario.py"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, self_signed_pem: str) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("node")
    media = {**VALID["media"], "origins": {"count": 2}, "edges": {"count": 1}}
    shared = {"tls": {"mode": "none"}, "loadBalancer": {"maxConnections": 1000}}
    # The nodes' addresses are on the same host here, so HAProxy may not take the ports of all.
    everything = render.haproxy_cfg(cluster(media=media, **shared)).replace("    bind :", "    bind 127.0.0.1:")
    (folder / "all.cfg").write_text(everything)
    shrunk = [line for line in everything.splitlines(keepends=True) if not line.startswith("    server origin-1 ")]
    (folder / "without-origin-1.cfg").write_text("".join(shrunk))
    (folder / "users.cfg").write_text(USERS)
    pem = folder / "site.pem"
    pem.write_text(self_signed_pem)
    program, scenario = "/usr/local/sbin/antmedia-node", "/scenario.py"
    done = images.run(
        IMAGE,
        ["python3", scenario, program, haproxy.HEALTH_PATH],
        binds={
            folder: "/config",
            pem: haproxy.CERTIFICATE,
            TEMPLATES / "haproxy/node.py": program,
            SCENARIO: scenario,
        },
        timeout_seconds=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_a_node_that_answers_takes_sessions(seen: dict[str, Any]) -> None:
    assert seen["serve"] == "origin-1: takes sessions\norigin-2: takes sessions\n"
    assert seen["before"] == ["origin-1", "origin-2"]


def test_a_drained_node_takes_no_new_session_in_any_pool_also_after_a_reload(seen: dict[str, Any]) -> None:
    assert seen["drained"] == seen["drained after a reload"] == ["MAINT"]
    assert seen["reached while drained"] == ["origin-2"]


def test_a_drain_waits_for_the_last_session_also_when_it_was_interrupted(seen: dict[str, Any]) -> None:
    assert seen["waits"]
    assert seen["an interrupted drain goes on"]
    assert seen["drain"].endswith("which are cut: 0")


def test_a_node_that_is_taken_back_takes_sessions_again(seen: dict[str, Any]) -> None:
    assert seen["back"] == "origin-1: takes sessions\n"
    assert seen["reached after"] == ["origin-1", "origin-2"]


def test_what_is_still_there_in_the_end_is_counted(seen: dict[str, Any]) -> None:
    assert re.fullmatch(r"origin-1: drained for \d+ s, sessions still there, which are cut: 1", seen["cut"])


def test_a_node_that_is_no_longer_configured_is_waited_for_in_old_workers(seen: dict[str, Any]) -> None:
    assert seen["a removed node waits for the old worker"]
    assert seen["removed"].endswith("which are cut: 0")


def test_a_node_that_does_not_answer_is_not_waited_for_and_not_taken_back(seen: dict[str, Any]) -> None:
    assert seen["down"] == "origin-2: does not answer, not waited for\n"
    assert "origin-2 at 172.30.1.32:5080 does not answer its health check from here" in seen["serve down"]
    assert "edge-9 is not in HAProxy's configuration" in seen["unknown"]


def test_without_haproxy_there_is_nothing_to_wait_for(seen: dict[str, Any]) -> None:
    assert seen["no haproxy"] == "edge-1: HAProxy does not run, nothing to wait for\n"
