"""How a host is reached for a shell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.keys import new_private_key
from tests.unit.cluster.conftest import HOST_KEY, PRIVATE_KEY
from tools import ssh
from tools.recovery.stack import RecoveryError, Stack
from tools.ssh import command

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


def logs_in_with(monkeypatch: pytest.MonkeyPatch, **keys: str) -> str:
    """The private key that `tools.ssh mine edge-1` gives to ssh, where the stack file has these keys."""
    given = []

    def pulumi(_: Stack, *arguments: str, **__: Any) -> str:
        return json.dumps({"nodes": NODES} if arguments[:2] == ("stack", "output") else {"value": json.dumps(keys)})

    def run(line: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        given.append(Path(line[line.index("-i") + 1]).read_text())
        return subprocess.CompletedProcess(line, 0)

    monkeypatch.setattr(Stack, "pulumi", pulumi)
    monkeypatch.setattr(sys, "argv", ["ssh", "mine", "edge-1"])
    monkeypatch.setattr(subprocess, "run", run)
    assert ssh.main() == 0
    return given[0]


def test_the_key_is_the_one_that_hosts_take_also_while_it_is_being_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = PRIVATE_KEY, new_private_key()
    assert logs_in_with(monkeypatch, privateKey=new, hostKey=HOST_KEY).strip() == new.strip()
    replacing = logs_in_with(monkeypatch, privateKey=new, previousPrivateKey=old, hostKey=HOST_KEY)
    assert replacing.strip() == old.strip()


def test_keys_that_cannot_be_used_are_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = json.dumps({"nodes": NODES, "value": '{"privateKey": "x-y"}'})
    monkeypatch.setattr(Stack, "pulumi", lambda *_, **__: held)
    monkeypatch.setattr(sys, "argv", ["ssh", "mine", "edge-1"])
    assert ssh.main() == 1
    said = capsys.readouterr().err
    assert "tools/pulumi preview -s mine" in said
    assert "x-y" not in said
