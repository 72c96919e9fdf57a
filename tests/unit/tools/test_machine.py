"""What a person is told whose machine lacks something."""

from __future__ import annotations

import os
import shutil

import pytest

from tools import machine


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program in ("nft", "ip") else f"/usr/bin/{program}")
    assert machine.missing(machine.PROGRAMS) == ["iproute2", "nftables"]


def test_without_root_one_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert machine.main() == 1
    assert "run this again as root" in capsys.readouterr().err


def test_on_another_system_the_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert machine.main() == 1
    assert "systemd-container" in capsys.readouterr().err


def test_a_machine_that_has_everything_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "missing", lambda wanted: [])
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("something was run"))
    assert machine.main() == 0


def test_only_who_needs_it_has_more_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []

    def missing(wanted: dict[str, str]) -> list[str]:
        asked.append(set(wanted))
        return []

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "missing", missing)
    for argument in ("lab", "lab-ams", "test"):
        monkeypatch.setattr("sys.argv", ["machine.py", argument])
        assert machine.main() == 0
    lab, ams, test = asked
    assert ams - lab == {"mvn"}
    assert test - lab == {"mvn", "chromium", "chromedriver"}
