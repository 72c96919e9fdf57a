"""A deployment whose engine is killed, on real hosts: `make recover`, `make up`, and nothing is left over."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.engine.crashes import EVENT, kill
from tests.lab import labs
from tests.lab.deployments import DOMAIN, Deployment, prepare

KILLS = int(os.environ.get("ANTMEDIA_KILLS", "1"))
"""At how many points of an update the engine is killed; 20 for the full proof."""

EVENTS = 90
"""About how many beginnings and ends of operations an update of the lab's stack from nothing has."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A lab without anything in it."""
    made = prepare(tmp_path_factory.mktemp("interrupted"))
    try:
        made.run("make", "tools")
        made.run("lab/lab", "up")
        yield made
    finally:
        made.lab.down()


def crash(deployment: Deployment, event: int, after: float) -> None:
    """Begin `tools/pulumi up`, and kill it and all that it has started when so many operations have begun or ended."""
    with subprocess.Popen(
        ["tools/pulumi", "up", "-s", "lab", "--yes", "--skip-preview", "--color", "never"],
        cwd=deployment.checkout, env={**os.environ, "ANTMEDIA_LAB": deployment.lab.name}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said, events = "", 0
        for line in process.stdout:
            said += line
            events += bool(EVENT.search(line))
            if events >= event:
                time.sleep(after)
                kill(process.pid, plugins_too=True)
                return
    pytest.fail(f"the update ended before it could be killed:\n{said}")


@pytest.mark.parametrize("point", range(KILLS))
def test_an_update_killed_anywhere_is_finished_by_make_recover_and_make_up(point: int, deployment: Deployment) -> None:
    crash(deployment, 1 + int((point + 0.5) / KILLS * EVENTS * 0.95), after=0.37 * point % 1)
    assert "Next: make up" in deployment.run("make", "recover").stdout
    said = deployment.make_up()
    assert f"url                  https://{DOMAIN}\n" in said
    assert len(deployment.nodes_seen(8)) == 2
    deployment.pulumi("preview", "--expect-no-changes", "--refresh")
    deployment.pulumi("destroy", "--yes", "--skip-preview")
    assert deployment.lab.objects() == {}


def test_a_host_that_died_by_itself_is_replaced_by_make_repair(deployment: Deployment) -> None:
    deployment.make_up()
    before = {host["name"].removeprefix("antmedia-lab-"): host["instance"] for host in deployment.lab.status()}
    unknown = deployment.run("make", "repair", "NODE=edge-9", check=False)
    assert "its nodes are edge-1, lb-1, origin-1" in unknown.stderr
    deployment.lab.ec2().terminate_instances(InstanceIds=[before["lb-1"]])
    deployment.run("make", "repair", "NODE=lb-1", "ARGS=--yes")
    after = {host["name"].removeprefix("antmedia-lab-"): host["instance"] for host in deployment.lab.status()}
    assert {name for name in before if before[name] != after[name]} == {"lb-1"}
    assert len(deployment.nodes_seen(8)) == 2
    deployment.pulumi("preview", "--expect-no-changes", "--refresh")


def test_make_down_leaves_nothing(deployment: Deployment) -> None:
    said = deployment.run("make", "down")
    assert "Left in the EC2 API" not in said.stderr
    assert labs.remains(deployment.lab.layout) == []
