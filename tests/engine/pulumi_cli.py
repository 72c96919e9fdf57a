"""The real engine: the Pulumi CLI of the tool chain, run on this checkout with a state of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.engine.sandbox import CHECKOUT, Namespace, SandboxError
from tools import lab_stack, stack_secrets

STACK = "engine"


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
    outputs: dict[str, Any]
    log: str


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
        configured = {key: item.get("objectValue", item["value"]) for key, item in shown.items()}
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

    def preview_text(self, *options: str) -> str:
        """What a person sees: the preview as `--diff` shows it."""
        return self._pulumi("preview", "--diff", *options, *self._common)

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
    def _common(self) -> list[str]:
        return ["--stack", STACK, "--config-file", str(self._config), "--non-interactive", "--color", "never"]

    def _update(self, command: str, *options: str) -> Run:
        log = self._pulumi(command, "--yes", *options, *self._common)
        return Run(_summary(log), self.outputs(), log)

    def _pulumi(self, *arguments: str, cwd: Path = CHECKOUT) -> str:
        command = self.namespace.command("pulumi", *arguments)
        ran = subprocess.run(command, cwd=cwd, env=self._env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if ran.returncode:
            raise EngineError(f"pulumi {' '.join(arguments)}: exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
        return ran.stdout


def _leaves(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [str(value)]


_WORDS = {"created": "create", "updated": "update", "deleted": "delete", "replaced": "replace"}


def _summary(log: str) -> dict[str, int]:
    """The lines under `Resources:`, such as `    + 26 created` or `    +-3 replaced`."""
    lines = re.findall(r"^ .*?(\d+) (\w+)$", log.partition("\nResources:")[2], re.MULTILINE)
    return {_WORDS[word]: int(number) for number, word in lines if word in _WORDS}
