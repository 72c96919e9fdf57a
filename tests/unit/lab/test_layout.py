"""Names of one lab never belong to another, and mistakes are answered with a sentence."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import forward, layout
from lab.__main__ import main
from lab.layout import LabError, Layout

NAMES = st.from_regex(layout.NAME_PATTERN, fullmatch=True)
INSTANCES = st.text(string.hexdigits.lower()[:16], min_size=17, max_size=17).map(lambda tail: f"i-{tail}")


def _namespaces(lab: Layout, instance: str) -> list[str]:
    return [lab.router_namespace, lab.client_namespace, lab.admin_namespace, lab.host_namespace(instance)]


@given(NAMES, NAMES, INSTANCES)
def test_no_two_labs_share_a_name(one: str, other: str, instance: str) -> None:
    if one != other:
        mine, yours = Layout(one, Path("/base")), Layout(other, Path("/base"))
        assert not any(mine.owns_namespace(name) for name in _namespaces(yours, instance))
        assert not set(_namespaces(mine, instance)) & set(_namespaces(yours, instance))
        assert mine.cgroup_name != yours.cgroup_name and mine.state != yours.state


@given(NAMES, INSTANCES)
def test_a_lab_knows_its_own(name: str, instance: str) -> None:
    lab = Layout(name, Path("/base"))
    assert all(lab.owns_namespace(found) for found in _namespaces(lab, instance))
    assert len(layout.host_interface(instance)) <= 15, "the kernel's limit for an interface name"


@pytest.mark.parametrize("name", ["Lab", "1lab", "a-name-too-long", "lab.client", "lab/..", "läb"])
def test_a_bad_name_is_refused_with_what_is_allowed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lab", name, "status"]) == 1
    error = capsys.readouterr().err
    assert name in error and "12 lower-case letters" in error


def test_a_lab_that_does_not_run_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTMEDIA_LAB_STATE", str(tmp_path))
    with pytest.raises(SystemExit, match="2"):
        main(["--lab", "none", "no-such-command"])
    for command in (["status"], ["objects"], ["console", "x"], ["kill", "x"], ["dns", "a.test", "192.0.2.1"]):
        assert main(["--lab", "none", *command]) == 1


@pytest.mark.parametrize(("text", "ports"), [("8443:443", (8443, 443)), ("443", (443, 443)), ("1:65535", (1, 65535))])
def test_ports_are_read(text: str, ports: tuple[int, int]) -> None:
    assert forward.parse_port(text) == ports


@pytest.mark.parametrize("text", ["", "x", "0:443", "8443:", ":443", "65536:443", "1:2:3", "-1:443"])
def test_what_is_not_a_pair_of_ports_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="LOCAL:REMOTE"):
        forward.parse_port(text)
