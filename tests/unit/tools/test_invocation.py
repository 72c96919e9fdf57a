"""What tools/pulumi decides: which stack, which environment, which file."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.patience import PATIENCE
from tools import invocation
from tools.provision.steps import ProvisionError

CHECKOUT = Path(__file__).resolve().parents[3]
PERSON = {
    "HOME": "/home/ann",
    "PATH": "/usr/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "AWS_PROFILE": "production",
    "AWS_SECRET_ACCESS_KEY": "theirs",
    "PULUMI_CONFIG_PASSPHRASE": "theirs",
    "PULUMI_ACCESS_TOKEN": "theirs",
}


@pytest.mark.parametrize(
    ("words", "stack"),
    [
        ("up -s lab", "lab"),
        ("-s lab up", "lab"),
        ("preview --stack lab", "lab"),
        ("preview --stack=lab-two", "lab-two"),
        ("preview -slab", "lab"),
        ("--color always preview -s lab", "lab"),
        ("stack init lab", "lab"),
        ("stack rm lab-x --yes", "lab-x"),
        ("stack output -s lab url", "lab"),
        ("config get domain -s lab", "lab"),
        ("up -s prod", None),
        ("up -s labour", None),
        ("up -s my-lab", None),
        ("up --message lab -s dev", None),
        ("version", None),
        ("up", None),
        ("up -s", None),
        ("", None),
    ],
)
def test_a_lab_stack_is_recognised_by_its_name_alone(words: str, stack: str | None) -> None:
    assert invocation.lab_stack(invocation.parse(words.split()), {}) == stack


def test_words_after_two_dashes_are_not_flags() -> None:
    assert invocation.lab_stack(invocation.parse(["import", "--", "-s", "lab"]), {}) is None


def test_the_variable_names_the_stack_unless_a_flag_does() -> None:
    environment = {"PULUMI_STACK": "lab"}
    assert invocation.lab_stack(invocation.parse(["up"]), environment) == "lab"
    assert invocation.lab_stack(invocation.parse(["up", "-s", "prod"]), environment) is None


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ("up", True),
        ("update", True),
        ("preview --diff", True),
        ("preview --stack lab --policy-pack policy", True),
        ("refresh", True),
        ("destroy", True),
        ("import aws:ec2/vpc:Vpc v vpc-1", True),
        ("config", True),
        ("config get domain", True),
        ("config set domain x", False),
        ("stack output", False),
        ("cancel", False),
        ("up --config-file other.yaml", False),
        ("up --config-file=other.yaml", False),
    ],
)
def test_the_stack_file_goes_to_the_commands_that_read_it(words: str, taken: bool) -> None:
    assert invocation.takes_config_file(invocation.parse(words.split())) is taken


@given(st.lists(st.text(string.ascii_lowercase + "-=", min_size=1, max_size=8), max_size=8))
def test_any_command_line_can_be_parsed(words: list[str]) -> None:
    arguments = invocation.parse(words)
    if arguments.command is not None:
        assert words[arguments.command_index] == arguments.command


def test_the_tool_chain_comes_first_and_a_persons_login_stays() -> None:
    result = invocation.tool_environment(Path("/c"), PERSON)
    assert result["PATH"].split(os.pathsep)[0] == "/c/bin"
    assert result["PULUMI_HOME"] == "/c/home"
    assert result["PULUMI_CREDENTIALS_PATH"] == "/home/ann/.pulumi"
    assert "PYTHONDONTWRITEBYTECODE" not in result
    assert result["AWS_PROFILE"] == "production"
    assert result["PULUMI_CONFIG_PASSPHRASE"] == "theirs"
    assert "PULUMI_BACKEND_URL" not in result


def test_the_cli_is_made_quicker_unless_the_person_has_set_otherwise() -> None:
    assert invocation.tool_environment(Path("/c"), PERSON).items() >= invocation.QUICK.items()
    assert invocation.tool_environment(Path("/c"), {"GOGC": "100"})["GOGC"] == "100"


def test_a_persons_own_pulumi_home_keeps_the_login() -> None:
    assert invocation.tool_environment(Path("/c"), {"PULUMI_HOME": "/own"})["PULUMI_CREDENTIALS_PATH"] == "/own"
    chosen = {"PULUMI_HOME": "/own", "PULUMI_CREDENTIALS_PATH": "/creds"}
    assert invocation.tool_environment(Path("/c"), chosen)["PULUMI_CREDENTIALS_PATH"] == "/creds"


def test_the_lab_sees_nothing_of_a_persons_accounts() -> None:
    lab = invocation.Lab("lab", Path("/state/lab"))
    result = invocation.lab_environment(lab, PERSON)
    assert result["PULUMI_BACKEND_URL"] == "file:///state/lab/pulumi"
    assert result["PULUMI_CONFIG_PASSPHRASE_FILE"] == "/state/lab/passphrase"
    assert not {"SSH_AUTH_SOCK", "AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "PULUMI_ACCESS_TOKEN"} & set(result)
    assert "theirs" not in result.values()


def test_a_lab_has_its_state_under_its_name() -> None:
    assert invocation.lab_from({}) == invocation.Lab("lab", Path("/var/lib/antmedia/lab"))
    named = invocation.lab_from({"ANTMEDIA_LAB": "two", "ANTMEDIA_LAB_STATE": "/s"})
    assert named == invocation.Lab("two", Path("/s/two"))
    with pytest.raises(ProvisionError, match="ANTMEDIA_LAB"):
        invocation.lab_from({"ANTMEDIA_LAB": "../x"})


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a tool chain whose CLI prints its arguments and environment."""
    monkeypatch.setenv("ANTMEDIA_CACHE", str(tmp_path / "cache"))
    made = tmp_path / "cache" / "toolchain" / "key"
    (made / "bin").mkdir(parents=True)
    program = made / "bin" / "pulumi"
    program.write_text('#!/bin/sh\necho "ran $*"; pwd; echo "home $PULUMI_HOME"\n')
    program.chmod(0o755)
    (made.parent / "current").symlink_to("key")
    return made


def tools_pulumi(directory: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    environment.pop("PULUMI_STACK", None)
    command = [sys.executable, str(CHECKOUT / "tools" / "pulumi"), *words]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def test_the_cli_runs_from_anywhere_with_arguments_unchanged(chain: Path, tmp_path: Path) -> None:
    done = tools_pulumi(tmp_path, "version", "--an", "argument with spaces")
    assert done.stdout.splitlines() == ["ran version --an argument with spaces", str(CHECKOUT), f"home {chain}/home"]


def test_another_projects_directory_is_kept(chain: Path, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").touch()
    (tmp_path / "deeper").mkdir()
    done = tools_pulumi(tmp_path / "deeper", "preview")
    assert done.stdout.splitlines()[1] == str(tmp_path / "deeper")


def test_without_a_tool_chain_a_sentence_says_what_to_do(tmp_path: Path) -> None:
    done = tools_pulumi(tmp_path, "version", ANTMEDIA_CACHE=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: There is no tool chain yet: make tools\n"


def test_a_lab_that_is_not_running_is_said_in_a_sentence(chain: Path, tmp_path: Path) -> None:
    done = tools_pulumi(tmp_path, "preview", "-s", "lab", ANTMEDIA_LAB="no-such-lab")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: The lab is not running: make up\n"


def test_a_lab_stack_runs_inside_the_lab_with_its_stack_file(
    chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocation.Lab, "is_running", True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    merged = tmp_path / "Pulumi.lab.yaml"
    monkeypatch.setattr(invocation, "prepare_stack_file", lambda stack, checkout, environment: merged)
    environment = {**PERSON, "ANTMEDIA_LAB_STATE": str(tmp_path / "state")}
    made = invocation.plan(["preview", "-s", "lab", "--diff"], environment, tmp_path, CHECKOUT)
    inside = ("ip", "netns", "exec", "lab")
    program = str(chain.parent / "current" / "bin" / "pulumi")
    assert made.words == (*inside, program, "preview", "--config-file", str(merged), "-s", "lab", "--diff")
    assert "theirs" not in " ".join(made.words)
    assert (tmp_path / "state" / "lab" / "pulumi").is_dir()
