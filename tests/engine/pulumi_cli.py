"""The real engine: the Pulumi CLI of the tool chain, run on this checkout with a state of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.engine.sandbox import CHECKOUT, Namespace, SandboxError
from tools import lab_stack, stack_secrets
from tools.invocation import QUICK

STACK = "engine"
PATIENCE = 900
"""Seconds that the longest command may take, on a busy machine: one that waits for itself never ends."""


def toolchain() -> Path:
    """The tool chain in use, in the cache that all of this project's commands share."""
    cache = os.environ.get("ANTMEDIA_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "antmedia"
    )
    found = Path(cache, "toolchain", "current")
    if not (found / "bin" / "pulumi").exists():
        raise SandboxError(f"There is no Pulumi in {found / 'bin'}: run `make tools` first.")
    return found


@dataclass(frozen=True)
class Step:
    """What the engine does, or would do, with one resource."""

    op: str
    """`same`, `create`, `update`, `replace`, `delete`, `refresh`, ..."""
    type: str
    name: str
    properties: tuple[str, ...] = ()
    """Those that differ, for an update or a replacement."""

    def __str__(self) -> str:
        return f"{self.op} {self.type} {self.name} {' '.join(self.properties)}".strip()


@dataclass(frozen=True)
class Plan:
    """A preview's outcome."""

    steps: list[Step]
    document: str
    """The CLI's whole JSON answer."""

    @property
    def changes(self) -> list[Step]:
        return [step for step in self.steps if step.op not in ("same", "read", "refresh")]

    def __str__(self) -> str:
        return "; ".join(map(str, self.changes)) or "no changes"


@dataclass(frozen=True)
class Run:
    """An update's, a refresh's or a destroy's outcome."""

    summary: dict[str, int]
    """Number of resources by operation, `same` left out."""
    log: str


@dataclass(frozen=True)
class Trial:
    """What the preview of some stack file came to."""

    accepted: bool
    said: str
    """All that a person sees."""
    told: list[tuple[str, str]]
    """Severity and text of every message, as the program gave it: `error`, `warning`, `info`, …"""
    registered: list[tuple[str, str]]
    """Type and name of every resource, the stack's own left out."""


class EngineError(AssertionError):
    """The CLI failed; the text holds all that it said."""


@dataclass
class Engine:
    """`pulumi` on the program in this checkout, in a namespace. `directory` takes state, passphrase and stack file."""

    namespace: Namespace
    directory: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    """Configuration that wins over stacks/Pulumi.lab-cluster.yaml, of which there is one node of each kind."""
    secrets: list[str] = field(init=False)
    """Every secret text of the configuration."""
    ssh_keys: tuple[str, str] = field(init=False)
    """The private key to log in with, and the hosts' own."""

    def __post_init__(self) -> None:
        tools = toolchain()
        if not (CHECKOUT / ".venv").exists():
            raise SandboxError("The program has no Python environment (.venv): run `make tools` first.")
        (self.directory / "state").mkdir()
        (self.directory / "passphrase").touch(mode=0o600)
        (self.directory / "passphrase").write_text("not a secret: the state ends with the test\n")
        # Without the credentials and settings of who runs the tests; with theirs, the tests would depend on them.
        self._env = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PULUMI_", "SSH_"))}
        self._env.pop("PYTHONDONTWRITEBYTECODE", None)
        self._env |= {
            **QUICK,
            "PATH": f"{tools / 'bin'}:{os.environ['PATH']}",
            "PULUMI_HOME": str(tools / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.directory / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.directory / "passphrase"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._config = self.directory / f"Pulumi.{STACK}.yaml"
        self._make_stack()

    def _make_stack(self) -> None:
        """A stack and its secrets, made in a project of the same name outside the checkout, which stays clean."""
        project = self.directory / "secrets"
        project.mkdir()
        name = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())["name"]
        (project / "Pulumi.yaml").write_text(f"name: {name}\nruntime: python\n")
        self._pulumi("stack", "init", STACK, cwd=project)
        made = project / f"Pulumi.{STACK}.yaml"
        stack_secrets.add_missing(["pulumi"], STACK, made, cwd=project, env=self._env)
        shown = json.loads(self._pulumi("config", "--show-secrets", "--json", "--stack", STACK, cwd=project))
        configured = _values(shown)
        self.secrets = _leaves(configured)
        ssh = configured[f"{name}:ssh"]
        self.ssh_keys = ssh["privateKey"], ssh["hostKey"]
        lab = stack_secrets.read(CHECKOUT / "stacks" / "Pulumi.lab-cluster.yaml")
        for group in ("origins", "edges"):
            lab["config"]["antmedia:media"][group]["count"] = 1
        self._base = lab_stack.merge(lab, stack_secrets.read(made))
        self.configure({})

    def configure(self, values: Mapping[str, Any]) -> None:
        """From now on the program is given that stack file with `values` in place of what they name."""
        config = lab_stack.merge({"config": {**self.values, **values}}, self._base)
        self._config.touch(mode=0o600)
        self._config.write_text(yaml.safe_dump(config, sort_keys=False))

    def preview(self, *options: str) -> Plan:
        """What an update would do, from the engine's point of view; `--refresh` and `--diff` are options."""
        shown = self._pulumi("preview", "--json", *options, *self._common)
        # With --refresh, the refresh's own events come first, each a document of its own.
        document = json.loads(shown[shown.index("{") :])
        steps = []
        for step in document.get("steps", []):
            _, _, kind, name = step["urn"].split("::")
            differing = tuple(sorted(step.get("detailedDiff") or step.get("diffReasons") or ()))
            steps.append(Step(step["op"], kind.split("$")[-1], name, differing))
        return Plan(steps, shown)

    def encrypted(self, texts: Collection[str]) -> dict[str, str]:
        """The cipher text of each, for this stack's files."""
        names = {text: f"{STACK}:text-{number}" for number, text in enumerate(texts)}
        wanted = {name: {"value": text, "secret": True} for text, name in names.items()}
        file = self.directory / "encrypted.yaml"
        file.write_text(yaml.safe_dump(self._encryption))
        self._pulumi("config", "set-all", "--json", json.dumps(wanted), "--stack", STACK, "--config-file", str(file))
        made = stack_secrets.read(file)["config"]
        return {text: made[name]["secure"] for text, name in names.items()}

    def try_file(self, text: str, name: str) -> Trial:
        """Preview a stack file, whatever it holds. Several may be tried at the same time, by names of their own."""
        file, log = self.directory / f"{name}.yaml", self.directory / f"{name}.events"
        file.write_text(f"{text.rstrip()}\n{yaml.safe_dump(self._encryption)}")
        options = ("--stack", STACK, "--config-file", str(file), "--non-interactive", "--color", "never")
        ran = subprocess.run(
            self.namespace.command("pulumi", "preview", "--event-log", str(log), *options),
            cwd=CHECKOUT, env={**self._env, "PULUMI_DEBUG_COMMANDS": "true"}, capture_output=True, text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        messages = [event["diagnosticEvent"] for event in events if "diagnosticEvent" in event]
        steps = [event["resourcePreEvent"]["metadata"] for event in events if "resourcePreEvent" in event]
        return Trial(
            accepted=ran.returncode == 0,
            said=ran.stdout + ran.stderr,
            told=[(message["severity"], re.sub("<{%.*?%}>", "", message["message"])) for message in messages],
            registered=[
                (step["type"], step["urn"].split("::")[-1]) for step in steps if step["type"] != "pulumi:pulumi:Stack"
            ],
        )

    @property
    def _encryption(self) -> dict[str, str]:
        """How the secrets of this stack's files are encrypted."""
        return {"encryptionsalt": self._base["encryptionsalt"]}

    def preview_text(self, *options: str) -> str:
        """What a person sees: the preview as `--diff` shows it."""
        return self.run("preview", "--diff", *options)

    def run(self, command: str, *options: str) -> str:
        """One command on the stack as a person gives it; returns what it says."""
        return self._pulumi(command, *options, *self._common)

    def configuration(self) -> dict[str, Any]:
        """What the program is given now, secrets in the clear, by key."""
        command = ("config", "--show-secrets", "--json", "--stack", STACK, "--config-file", str(self._config))
        return _values(json.loads(self._pulumi(*command)))

    def up(self, *options: str) -> Run:
        return self._update("up", "--skip-preview", *options)

    def refresh(self, *options: str) -> Run:
        return self._update("refresh", "--skip-preview", *options)

    def destroy(self, *options: str) -> Run:
        return self._update("destroy", "--skip-preview", *options)

    def destroy_as_a_person_does(self) -> Run:
        """With a preview first."""
        return self._update("destroy")

    def export(self, *options: str) -> dict[str, Any]:
        """The stack's state, as stored: secrets are encrypted."""
        state: dict[str, Any] = json.loads(self._pulumi("stack", "export", "--stack", STACK, *options))
        return state

    def outputs(self, *options: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._pulumi("stack", "output", "--json", "--stack", STACK, *options))
        return found

    @property
    def config_file(self) -> Path:
        """What the program is given now; secrets are encrypted."""
        return self._config

    @property
    def environment(self) -> Mapping[str, str]:
        """For what a person runs beside the CLI: its state, its passphrase, no credentials of who runs the tests."""
        return self._env

    @property
    def _common(self) -> list[str]:
        return ["--stack", STACK, "--config-file", str(self._config), "--non-interactive", "--color", "never"]

    def _update(self, command: str, *options: str) -> Run:
        log = self.run(command, "--yes", *options)
        return Run(_summary(log), log)

    def _pulumi(self, *arguments: str, cwd: Path = CHECKOUT) -> str:
        command = self.namespace.command("pulumi", *arguments)
        try:
            ran = subprocess.run(
                command,
                cwd=cwd,
                env=self._env,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired as stuck:
            said = stuck.stdout.decode() if isinstance(stuck.stdout, bytes) else stuck.stdout
            raise EngineError(f"pulumi {' '.join(arguments)}: no end after {PATIENCE} s\n{said}") from None
        if ran.returncode:
            raise EngineError(f"pulumi {' '.join(arguments)}: exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
        return ran.stdout


def _values(shown: Mapping[str, Any]) -> dict[str, Any]:
    """By key, from what `pulumi config --json` shows."""
    return {key: item.get("objectValue", item["value"]) for key, item in shown.items()}


def _leaves(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [str(value)]


_WORDS = {"created": "create", "updated": "update", "deleted": "delete", "replaced": "replace"}


def _summary(log: str) -> dict[str, int]:
    """The lines under `Resources:`, such as `    + 26 created` or `    +-3 replaced`."""
    lines = re.findall(r"^ .*?(\d+) (\w+)$", log.partition("\nResources:")[2], re.MULTILINE)
    return {_WORDS[word]: int(number) for number, word in lines if word in _WORDS}
