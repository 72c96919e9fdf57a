"""How a host is reached for a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.recovery.stack import RecoveryError, Stack
from tools.ssh import command, outputs

NODES = {
    "lb-1": {"role": "lb", "privateAddress": "172.30.0.10", "publicAddress": "198.51.100.1"},
    "edge-1": {"role": "edge", "privateAddress": "172.30.0.132", "publicAddress": "198.51.100.2"},
}


def test_the_load_balancer_is_reached_at_its_public_address() -> None:
    line = command(Path("/f"), NODES, "lb-1", ["uptime"])
    assert line[-2:] == ["deploy@198.51.100.1", "uptime"]
    assert not [word for word in line if "ProxyCommand" in word]


def test_other_hosts_are_reached_through_it_with_both_keys_pinned() -> None:
    line = command(Path("/f"), NODES, "edge-1", [])
    assert line[-1] == "deploy@172.30.0.132"
    (proxy,) = [word for word in line if word.startswith("ProxyCommand=")]
    assert proxy.endswith("-W %h:%p deploy@198.51.100.1")
    for words in (" ".join(line[:12]), proxy):
        assert "StrictHostKeyChecking=yes" in words
        assert "UserKnownHostsFile=/f/known_hosts" in words


@pytest.mark.parametrize(("node", "said"), [("edge-9", "There is no node edge-9"), ("", "NODE=name")])
def test_a_node_that_is_not_there_is_answered_with_those_that_are(node: str, said: str) -> None:
    with pytest.raises(RecoveryError, match=f"{said}.*edge-1, lb-1"):
        command(Path("/f"), NODES, node, [])


@pytest.mark.parametrize(
    ("pulumi", "said"),
    [
        ("error: no stack named 'lab-ams' found", r"^There is no stack lab-ams\. Next: make up STACK=lab-ams$"),
        ("error: cannot read the state", "cannot read the state"),
    ],
)
def test_a_stack_that_is_not_there_is_answered_with_what_makes_it(
    monkeypatch: pytest.MonkeyPatch, pulumi: str, said: str
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise RecoveryError(f"tools/pulumi stack output failed:\n{pulumi}")

    monkeypatch.setattr(Stack, "pulumi", fail)
    with pytest.raises(RecoveryError, match=said):
        outputs(Stack("lab-ams"))
