"""A stack as `tools/pulumi` shows it: its state, its unfinished operations, its configuration."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cluster.settings import NAMESPACE, Settings, SettingsError, load
from tools import invocation

CHECKOUT: Final = Path(__file__).resolve().parents[2]
BACKUPS: Final = CHECKOUT / "build" / "recover"
INSTANCE: Final = "aws:ec2/instance:Instance"
ROUTE: Final = "aws:ec2/route:Route"
VOLUME: Final = "aws:ebs/volume:Volume"
RECORD: Final = "aws:route53/record:Record"


class RecoveryError(Exception):
    """Something that a person has to decide or to put right. The text says what to do."""


@dataclass(frozen=True)
class Operation:
    """Something that the engine had begun and of which it has not noted the end."""

    kind: str
    """`creating`, `updating`, `deleting`, `reading`, `importing`."""
    urn: str
    type: str
    inputs: Mapping[str, Any]
    id: str | None
    """What the object is called in AWS; None while it is being created."""

    @property
    def name(self) -> str:
        """The Pulumi name."""
        return self.urn.rpartition("::")[2]

    @property
    def is_create(self) -> bool:
        return self.kind == "creating"

    @property
    def is_in_aws(self) -> bool:
        return self.type.startswith("aws:")

    def __str__(self) -> str:
        return f"{self.kind} {self.type} {self.name}"


@dataclass(frozen=True)
class State:
    """One export of a stack's state. Secrets in it are encrypted."""

    document: Mapping[str, Any]

    @property
    def _deployment(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.document.get("deployment") or {}
        return found

    @property
    def resources(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self._deployment.get("resources") or ()
        return found

    @property
    def time(self) -> str:
        """When it was written; changes with each update."""
        return str((self._deployment.get("manifest") or {}).get("time", ""))

    @property
    def written(self) -> datetime | None:
        """`time`, read; None for a state without one."""
        try:
            return datetime.fromisoformat(self.time)
        except ValueError:
            return None

    @functools.cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The unfinished ones."""
        return tuple(
            Operation(
                kind=found["type"],
                urn=found["resource"]["urn"],
                type=found["resource"]["type"],
                inputs=found["resource"].get("inputs") or {},
                id=found["resource"].get("id") or None,
            )
            for found in self._deployment.get("pending_operations") or ()
        )

    @functools.cached_property
    def urns(self) -> frozenset[str]:
        return frozenset(resource["urn"] for resource in self.resources)

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The stack's outputs."""
        stacks = (resource for resource in self.resources if resource["type"] == "pulumi:pulumi:Stack")
        return next((resource.get("outputs") or {} for resource in stacks), {})

    def id_of(self, kind: str) -> str | None:
        """What AWS calls an object of a type, the first one; None where there is none."""
        found = (each for each in self.resources if each["type"] == kind and not each.get("delete"))
        return next((str(each["id"]) for each in found if each.get("id")), None)

    @functools.cached_property
    def known_ids(self) -> frozenset[str]:
        """Every object in AWS that the state accounts for, by id."""
        found = {str(resource["id"]) for resource in self.resources if resource.get("id")}
        for resource in self.resources:
            outputs = resource.get("outputs") or {}
            if resource["type"] == ROUTE:  # has no id in AWS
                found.add(f"{outputs.get('routeTableId')} {outputs.get('destinationCidrBlock')}")
            if resource["type"] == RECORD:
                found.add(f"{outputs.get('zoneId')} {outputs.get('name')} {outputs.get('type')}")
            root = outputs.get("rootBlockDevice")
            if resource["type"] == INSTANCE and isinstance(root, Mapping):
                found.add(str(root.get("volumeId")))
        return frozenset(found)

    @property
    def account(self) -> str | None:
        """The AWS account that the objects of the state are in; None while there are none."""
        for resource in self.resources:
            arn = (resource.get("outputs") or {}).get("arn")
            if isinstance(arn, str) and arn.startswith("arn:") and (owner := arn.split(":")[4]).isdigit():
                return owner
        return None

    def without_operations(self) -> dict[str, Any]:
        """The document to import: the same resources, and nothing unfinished."""
        return {**self.document, "deployment": {**self._deployment, "pending_operations": []}}


@dataclass(frozen=True)
class Stack:
    """A stack, driven through tools/pulumi. `config_file` is for one whose file is not in stacks/."""

    name: str
    config_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def next_command(self) -> str:
        """What a person types to go on."""
        if self.name == "lab":
            return "make up"
        is_lab = invocation.LAB_STACK.fullmatch(self.name)
        return f"make up STACK={self.name}" if is_lab else f"tools/pulumi up -s {self.name}"

    @property
    def no_hosts(self) -> RecoveryError:
        """What to raise where the stack has none."""
        return RecoveryError(f"The stack {self.name} has no hosts. Next: {self.next_command}")

    def pulumi(self, *arguments: str, config: bool = False, named: bool = True) -> str:
        """`tools/pulumi ARGUMENTS`, for this stack where it is `named`; returns its standard output.

        Raises:
            RecoveryError: it failed; with its own words.
        """
        done = subprocess.run(
            self._command(*arguments, config=config, named=named),
            cwd=CHECKOUT,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = "\n".join(filter(None, (done.stdout.strip(), done.stderr.strip())))
            if f"no stack named '{self.name}' found" in said:
                is_lab = invocation.LAB_STACK.fullmatch(self.name)
                begin = self.next_command if is_lab else f"make new-stack STACK={self.name}"
                raise RecoveryError(f"There is no stack {self.name}. Next: {begin}")
            raise RecoveryError(f"tools/pulumi {' '.join(arguments[:2])} failed:\n{said}")
        return done.stdout

    def shown(self, *arguments: str) -> int:
        """The same with everything shown to the person; returns the exit code."""
        command = self._command(*arguments, config=True)
        return subprocess.run(command, cwd=CHECKOUT, env=dict(self.environment), check=False).returncode

    def _command(self, *arguments: str, config: bool, named: bool = True) -> list[str]:
        stack = ["--stack", self.name] if named else []
        file = ["--config-file", str(self.config_file)] if config and self.config_file else []
        return [sys.executable, str(CHECKOUT / "tools" / "pulumi"), *arguments, *stack, *file]

    def export(self) -> State:
        """The state as it is now."""
        return State(json.loads(self.pulumi("stack", "export", "--non-interactive")))

    def settings(self) -> Settings:
        """The stack file's settings, with its secrets.

        Raises:
            RecoveryError: they cannot be used.
        """
        shown = json.loads(self.pulumi("config", "--show-secrets", "--json", "--non-interactive", config=True))
        prefix = f"{NAMESPACE}:"
        values = {
            key.removeprefix(prefix): item.get("objectValue", item.get("value") or None)
            for key, item in shown.items()
            if key.startswith(prefix)
        }
        secret = [key for key in values if shown[prefix + key].get("secret")]
        try:
            return load(values, now=datetime.now(UTC), secret=secret)
        except SettingsError as error:
            raise RecoveryError(f"stack {self.name}: {error}") from None

    def configuration(self) -> dict[str, Any]:
        """The stack file's `aws:` settings, decrypted where they are secret."""
        shown = json.loads(self.pulumi("config", "--json", "--non-interactive", config=True))
        found = {}
        for key, item in shown.items():
            namespace, _, name = key.partition(":")
            if namespace == "aws":
                if item.get("secret"):
                    item = json.loads(self.pulumi("config", "get", key, "--json", "--non-interactive", config=True))
                found[name] = item.get("objectValue", item.get("value"))
        return found

    def backend_url(self) -> str:
        """Where the state is kept."""
        if invocation.LAB_STACK.fullmatch(self.name):
            lab = invocation.lab_from(self.environment)
            return invocation.lab_environment(lab, {})["PULUMI_BACKEND_URL"]
        told = self.environment.get("PULUMI_BACKEND_URL")
        return told or str(json.loads(self.pulumi("whoami", "--json", "--non-interactive", named=False))["url"])

    def backup(self, state: State) -> Path:
        """Write the state to a file of its own, readable by its owner only, before it is edited."""
        BACKUPS.mkdir(parents=True, exist_ok=True)
        file = BACKUPS / f"{self.name}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(state.document))
        return file

    def drop_operations(self, state: State) -> Path:
        """Take the unfinished operations out of the state; returns the backup that was written before.

        Raises:
            RecoveryError: somebody has changed the state since it was read.
        """
        backup = self.backup(state)
        if self.export().time != state.time:
            raise RecoveryError("Somebody has changed the state meanwhile; it was left alone. Run this again.")
        edited = backup.with_suffix(".edited.json")
        edited.touch(mode=0o600)
        try:
            edited.write_text(json.dumps(state.without_operations()))
            self.pulumi("stack", "import", "--file", str(edited), "--non-interactive")
        finally:
            edited.unlink()
        return backup

    def read_anew(self, urns: Sequence[str]) -> None:
        """Have the engine look at these in AWS, and put what it finds into the state."""
        targets = [word for urn in urns for word in ("--target", urn)]
        self.pulumi("refresh", "--yes", "--skip-preview", "--non-interactive", *targets, config=True)
