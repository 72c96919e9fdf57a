"""What is typed around the program: stack files, secrets, rendering, closing words."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import keys
from lab import images
from tools import deploy, lab_stack, render, stack_secrets

CHECKOUT = Path(__file__).resolve().parent.parent.parent.parent


def test_secrets_that_a_stack_already_has_are_kept() -> None:
    held = {"antmedia:ssh": {"hostKey": {"secure": "v1:x"}}, "antmedia:stats": {"user": "stats"}}
    assert stack_secrets.missing(held) == [
        "antmedia:ssh.privateKey", "antmedia:stats.password", "antmedia:administrator.password",
        "antmedia:databaseLogin.password",
    ]  # fmt: skip
    assert stack_secrets.missing({}) == list(stack_secrets.MAKERS)


def test_made_secrets_are_accepted_by_the_settings() -> None:
    assert keys.public_key(stack_secrets.MAKERS["antmedia:ssh.privateKey"]()).startswith("ssh-ed25519 ")
    for group in ("stats", "administrator", "databaseLogin"):
        password = stack_secrets.MAKERS[f"antmedia:{group}.password"]()
        assert re.fullmatch(r"[A-Za-z0-9_-]{24,}", password)


def test_secrets_go_to_the_cli_by_standard_input_and_never_as_arguments(tmp_path: Path) -> None:
    cli = tmp_path / "cli"
    cli.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/arguments\ncat >>{tmp_path}/input\n')
    cli.chmod(0o755)
    added = stack_secrets.add_missing([str(cli)], "s", tmp_path / "none.yaml", cwd=tmp_path, env=os.environ)
    assert added == list(stack_secrets.MAKERS)
    assert "OPENSSH PRIVATE KEY" in (tmp_path / "input").read_text()
    assert "OPENSSH" not in (tmp_path / "arguments").read_text()


def test_a_lab_stack_gets_the_labs_secrets_and_keeps_its_own_values() -> None:
    values = {"config": {"antmedia:domain": "live.example.test", "antmedia:stats": {"user": "me"}}}
    secret = {
        "encryptionsalt": "v1:salt",
        "config": {"antmedia:stats": {"password": {"secure": "v1:p"}, "user": "other"}, "antmedia:ssh": {}},
    }
    assert lab_stack.merge(values, secret) == {
        "encryptionsalt": "v1:salt",
        "config": {
            "antmedia:domain": "live.example.test",
            "antmedia:stats": {"user": "me", "password": {"secure": "v1:p"}},
            "antmedia:ssh": {},
        },
    }


def test_a_lab_stack_without_a_running_lab_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTMEDIA_LAB_STATE", str(tmp_path))
    with pytest.raises(lab_stack.LabStackError, match="make up"):
        lab_stack.prepare("lab")
    with pytest.raises(lab_stack.LabStackError, match=r"no stack file stacks/Pulumi\.lab-none\.yaml"):
        lab_stack.prepare("lab-none")


def test_a_lab_stack_trusts_the_packages_of_its_own_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTMEDIA_LAB_STATE", str(tmp_path))
    monkeypatch.setenv("ANTMEDIA_LAB", "lab")
    monkeypatch.setattr(lab_stack, "_secrets", lambda *_: {})
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/controller.pid").touch()

    def source(stack: str) -> Any:
        config = yaml.safe_load(lab_stack.prepare(stack).read_text())["config"]
        return config.get("antmedia:database", {}).get("packageSource", {})

    assert "key" not in source("lab-cluster"), "a lab without packages of its own has no key to give"
    (tmp_path / "lab/packages.asc").write_text("the lab's key")
    assert source("lab-cluster")["key"] == "the lab's key"
    assert source("lab-cluster")["url"] == "http://packages.lab.test"
    assert source("lab-ams") == {}, "a stack that names no source is given none"


def test_a_file_with_secrets_is_its_owners_alone(tmp_path: Path) -> None:
    lab_stack._write(tmp_path / "f", "text")
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


@pytest.mark.parametrize("stack", ["lab", "lab-ams", "dev", "prod"])
def test_every_stack_file_in_the_project_renders_without_engine_or_credentials(stack: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tools.render", stack, "haproxy.cfg"],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "frontend tls" in shown.stdout


def test_the_labs_stack_differs_from_the_others_in_values_only() -> None:
    files = {s: yaml.safe_load((CHECKOUT / f"stacks/Pulumi.{s}.yaml").read_text())["config"] for s in ("lab", "prod")}
    ours = {key for key in files["lab"] if key.startswith("antmedia:")}
    assert ours <= set(files["prod"])


@pytest.mark.parametrize(("stack", "file"), [("none", "haproxy.cfg"), ("lab", "none.cfg")])
def test_rendering_what_does_not_exist_says_what_there_is(
    stack: str, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["render", stack, file])
    assert render.main() == 1
    assert "There is no" in capsys.readouterr().err


def test_make_up_refuses_a_stack_outside_the_lab_and_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["deploy", "down", "prod"])
    assert deploy.main() == 2
    assert "tools/pulumi destroy -s prod" in capsys.readouterr().err


def test_the_closing_words_say_how_to_publish_and_to_play() -> None:
    outputs = {name: f"<{name}>" for name in deploy.SHOWN}
    text = deploy.closing_words("lab", outputs)
    assert "flv <rtmpUrl>/stream1" in text
    assert "ffmpeg -i <rtmpUrl>/stream1" in text
    assert all(f"<{name}>" in text for name in deploy.SHOWN)
    assert "rtmps" not in deploy.closing_words("lab", {**outputs, "rtmpsUrl": None}), "there is none without TLS"
    assert text.endswith("make down")
    assert deploy.closing_words("lab-ams", outputs).endswith("make down STACK=lab-ams")


def test_a_lab_has_room_for_one_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTMEDIA_LAB_STATE", str(tmp_path))
    states = tmp_path / "lab/pulumi/.pulumi/stacks/antmedia"
    states.mkdir(parents=True)
    (states / "lab.json").write_text('{"checkpoint": {"latest": {"resources": [{}]}}}')
    (states / "lab-new.json").write_text('{"checkpoint": {"stack": "lab-new"}}')
    assert deploy.deployed(tmp_path / "lab/pulumi") == ["lab"]
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    built: list[str] = []
    monkeypatch.setattr(images, "ensure", built.append)
    for command in (deploy.up, deploy.down):
        assert command("lab-ams") == 1
        assert "make down STACK=lab" in capsys.readouterr().err
    assert not [command for command in ran if "up" in command[1:] and command[0] != deploy.LAB]
    assert not [command for command in ran if "destroy" in command]
    assert built == ["debian-13", "media-ams"], "what the stack boots from was not built first"
