"""What the real engine does when nodes are added, removed and replaced: exactly that, and nothing to the others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.pulumi_cli import Engine, EngineError, Plan, Run
from tests.engine.sandbox import SshServer

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("first_up", "put_back")]

OTHER_AMI = "ami-0ccc0000000001302"
STEPS = ("ready", "server", "joined", "drain", "serve")
NODE = {"Instance edge-2", "RemoteHost edge-2", "Command edge-2-forget", *(f"Command edge-2-{step}" for step in STEPS)}


@pytest.fixture(scope="module")
def put_back(engine: Engine, first_up: Run) -> Iterator[None]:
    yield
    engine.configure({})
    engine.up()


def media(**edges: Any) -> dict[str, Any]:
    return {"antmedia:media": {"edges": edges}}


def operations(plan: Plan) -> dict[str, set[str]]:
    """Kind and name of what is to change, by operation. A replacement is shown by its parts too, which are left out."""
    found: dict[str, set[str]] = {}
    for step in plan.changes:
        if step.op not in ("create-replacement", "delete-replaced") and step.type != "pulumi:pulumi:Stack":
            found.setdefault(step.op, set()).add(f"{step.type.rpartition(':')[2]} {step.name}")
    return found


def test_a_node_that_is_added_is_made_and_the_load_balancer_told_of_it(engine: Engine) -> None:
    engine.configure(media(count=2))
    assert operations(engine.preview()) == {
        "create": NODE,
        "update": {"Command lb-1-configure", "Dashboard dashboard"},
        "replace": {"Command lb-1-verify"},
    }
    assert engine.up().summary == {"create": 8, "update": 2, "replace": 1}
    engine.preview_text("--expect-no-changes")


def test_a_node_of_another_image_is_replaced_with_what_was_done_on_it(engine: Engine) -> None:
    """Another image for all media nodes: instances, their steps, the proof that all are back, and what shows them."""
    engine.configure({"antmedia:media": {"ami": OTHER_AMI, "edges": {"count": 2}}})
    nodes = ("origin-1", "edge-1", "edge-2")
    replaced = {f"Instance {node}" for node in nodes} | {f"Command {node}-{step}" for node in nodes for step in STEPS}
    assert operations(engine.preview()) == {
        "replace": replaced | {"Command origin-1-administrator", "Command lb-1-verify"},
        "update": {"Dashboard dashboard"},
    }


def test_a_drain_comes_before_its_node_is_replaced_and_one_after_the_other_is(
    engine: Engine, ssh_log: SshServer
) -> None:
    engine.configure({"antmedia:media": {"ami": OTHER_AMI, "edges": {"count": 2}}})
    engine.up()
    what = [re.findall(r"(drain|serve) (edge-\d) \d+$", call.stdin, re.MULTILINE) for call in ssh_log.calls]
    assert [found[0] for found in what if found] == [
        ("drain", "edge-1"),
        ("serve", "edge-1"),
        ("drain", "edge-2"),
        ("serve", "edge-2"),
    ]
    engine.preview_text("--expect-no-changes")


def test_a_node_that_does_not_come_back_stops_the_roll_and_the_next_update_goes_on(
    engine: Engine, ssh_log: SshServer
) -> None:
    engine.configure(media(count=2))
    with (
        ssh_log.failing(pattern="serve edge-1", message="edge-1 does not answer"),
        pytest.raises(EngineError, match="edge-1 does not answer"),
    ):
        engine.up()
    assert "drain edge-2 " not in "".join(call.stdin for call in ssh_log.calls), "the rest serves"
    ssh_log.clear()
    engine.up()
    sent = "".join(call.stdin for call in ssh_log.calls)
    assert "drain edge-1 " not in sent, "it has no sessions"
    assert sent.index("serve edge-1 ") < sent.index("drain edge-2 ") < sent.index("serve edge-2 ")
    engine.preview_text("--expect-no-changes")


def test_a_node_that_is_removed_is_drained_and_ended_and_no_other_touched(engine: Engine, ssh_log: SshServer) -> None:
    engine.configure(media(count=1))
    assert operations(engine.preview()) == {
        "delete": NODE,
        "update": {"Command lb-1-configure", "Dashboard dashboard"},
        "replace": {"Command lb-1-verify"},
    }
    ssh_log.clear()
    assert engine.up().summary == {"delete": 8, "update": 2, "replace": 1}
    engine.preview_text("--expect-no-changes")
    sent = [call.stdin for call in ssh_log.calls]
    order = [
        next(i for i, text in enumerate(sent) if mark in text)
        for mark in ("antmedia-haproxy-put /etc/haproxy/haproxy.cfg", "drain edge-2 ", "gone=")
    ]
    assert order == sorted(order), "HAProxy is told, then the node is drained, and after its end forgotten"
