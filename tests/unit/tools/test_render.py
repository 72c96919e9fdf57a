"""`make render`: a host's file from the stack file alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tools import render


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(render, "STACKS", tmp_path)
    return tmp_path


def test_secrets_are_not_needed(
    stacks: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted = {"secure": "v1:AAAA"}
    config = {
        "antmedia:domain": "live.example.com",
        "antmedia:adminCidrs": ["203.0.113.7/32"],
        "antmedia:media": {"ami": "ami-0123456789abcdef0"},
        "antmedia:tls": {"mode": "provided", "chain": encrypted, "key": encrypted, "extraNames": ["www.example.com"]},
        "antmedia:loadBalancer": {"playName": "play.example.com"},
        "antmedia:ssh": {"privateKey": encrypted, "hostKey": encrypted},
        "antmedia:stats": {"password": encrypted},
    }
    (stacks / "Pulumi.mine.yaml").write_text(yaml.safe_dump({"config": config}))
    monkeypatch.setattr("sys.argv", ["render", "mine", "haproxy.cfg"])
    assert render.main() == 0
    said = capsys.readouterr().out
    assert "frontend tls from tcp" in said
    assert "acme" not in said


def test_a_mistake_is_told(stacks: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (stacks / "Pulumi.mine.yaml").write_text("config:\n  antmedia:domian: x\n")
    monkeypatch.setattr("sys.argv", ["render", "mine", "haproxy.cfg"])
    assert render.main() == 1
    assert "did you mean domain?" in capsys.readouterr().err
