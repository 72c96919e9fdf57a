"""What the engine would do, from `pulumi preview --json`.

Its events, one JSON document a line, are read instead of its digest, which leaves out the findings of policies
(pulumi/pulumi#18851). In both, secrets are blinded; of values nothing is kept here anyway, only names.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
POLICY: Final = CHECKOUT / "policy"
"""The policy pack's folder; there may be none."""

OPERATIONS: Final = ("create", "update", "replace", "delete", "import")
"""What changes something, as a person counts it: a replacement is one operation, not also its two halves."""

STACK: Final = "pulumi:pulumi:Stack"

PLACE: Final = re.compile(r"[.\[]")
"""What ends the first name in the path of a property."""


@dataclass(frozen=True)
class Change:
    """One resource that would not stay as it is."""

    operation: str
    """One of OPERATIONS."""
    type: str
    """The engine's, such as `aws:ec2/instance:Instance`."""
    name: str
    properties: tuple[str, ...] = ()
    """Of an update or a replacement: the names of the inputs that differ, without their values."""

    @property
    def kind(self) -> str:
        """The type's last word; `step` for what is done on a host."""
        return "step" if self.type == "command:remote:Command" else self.type.rpartition(":")[2]


@dataclass(frozen=True)
class Finding:
    """A policy that a resource does not keep."""

    policy: str
    level: str
    """`advisory`, `mandatory`, …: mandatory ones fail the preview."""
    resource: str
    """Its name; empty for one about the whole stack."""
    message: str


@dataclass(frozen=True)
class Preview:
    """A preview's outcome; of one that failed, as far as it came."""

    failed: bool
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...] | None
    """None where there is no policy pack."""
    errors: tuple[str, ...]
    """What the engine, the program, or the CLI said about a failure."""
    warnings: tuple[str, ...] = ()


def run(stack: str, config_file: Path | None = None, policy: Path = POLICY) -> Preview:
    """Preview a stack, with a policy pack where there is one in that folder. Asks nothing, changes nothing."""
    has_policy = (policy / "PulumiPolicy.yaml").exists()
    done = subprocess.run(
        [
            sys.executable, str(CHECKOUT / "tools" / "pulumi"), "preview", "--json", "--stack", stack,
            *(["--config-file", str(config_file)] if config_file else []),
            *(["--policy-pack", str(policy)] if has_policy else []),
            "--non-interactive", "--color", "never",
        ],
        cwd=CHECKOUT,
        env={**os.environ, "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    return read(done.stdout.splitlines(), failed=done.returncode != 0, said=done.stderr, has_policy=has_policy)


def read(lines: Iterable[str], *, failed: bool, said: str, has_policy: bool) -> Preview:
    """The outcome from what the CLI printed: events on its standard output, and `said` on the other one."""
    changes: list[Change] = []
    findings: list[Finding] = []
    diagnostics: dict[str, list[str]] = {"error": [], "warning": []}
    for line in lines:
        event = _event(line)
        if found := (event.get("resourcePreEvent") or {}).get("metadata"):
            changes.extend(_change(found))
        if found := event.get("policyEvent"):
            findings.append(_finding(found))
        if (found := event.get("diagnosticEvent")) and not found.get("ephemeral"):
            diagnostics.setdefault(found["severity"], []).append(found["message"].strip())
    errors = [*diagnostics["error"], *([said.strip()] if failed and said.strip() else [])]
    return Preview(
        failed=failed,
        changes=tuple(changes),
        findings=tuple(findings) if has_policy else None,
        errors=tuple(dict.fromkeys(errors)),
        warnings=tuple(dict.fromkeys(diagnostics["warning"])),
    )


def _event(line: str) -> Mapping[str, Any]:
    """The CLI says other things between its events, such as that it installs a policy pack."""
    try:
        event = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _change(step: Mapping[str, Any]) -> Iterable[Change]:
    is_component = not (step.get("new") or step.get("old") or {}).get("custom")
    if step["op"] not in OPERATIONS or is_component or step["type"] == STACK:
        return
    # What only the provider decides differs too, such as a new host's public address.
    inputs = {key for state in ("old", "new") for key in (step.get(state) or {}).get("inputs") or ()}
    differing = sorted({PLACE.split(path)[0] for path in step.get("detailedDiff") or step.get("diffs") or ()} & inputs)
    yield Change(step["op"], step["type"], step["urn"].rpartition("::")[2], tuple(differing))


def _finding(event: Mapping[str, Any]) -> Finding:
    return Finding(
        policy=event["policyName"],
        level=event["enforcementLevel"],
        resource=event.get("resourceUrn", "").rpartition("::")[2],
        message=event["message"].strip(),
    )
