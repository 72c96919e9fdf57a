"""The configuration file that a lab stack is deployed with: its values from git, its secrets from the lab.

`python -m tools.lab_stack STACK` prints the file's path. The file is made anew on each call, so a change of the stack
file counts at once; the secrets are made once for each lab and never enter the checkout.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from lab.layout import Layout, layout
from tools import stack_secrets
from tools.provision import cache

CHECKOUT: Final = Path(__file__).resolve().parent.parent


class LabStackError(Exception):
    """The lab's stack cannot be prepared. The text says what to do."""


def prepare(stack: str) -> Path:
    """Write the merged configuration of a lab stack and return its path.

    Raises:
        LabStackError: no such stack file, or no running lab.
    """
    source = CHECKOUT / "stacks" / f"Pulumi.{stack}.yaml"
    if not source.exists():
        raise LabStackError(f"There is no stack file stacks/{source.name}.")
    lab = layout()
    if not lab.pid_file.exists():
        raise LabStackError("The lab is not running: make up")
    merged = merge(stack_secrets.read(source), _secrets(stack, lab))
    if "packageSource" in (merged.get("config") or {}).get("antmedia:database", {}):
        merged = merge(merged, _packages(lab))
    target = lab.state / f"Pulumi.{stack}.yaml"
    _write(target, yaml.safe_dump(merged, sort_keys=False))
    return target


def merge(values: Mapping[str, Any], secret: Mapping[str, Any]) -> dict[str, Any]:
    """Add the secrets to the values, group by group; what both hold, the values win."""
    result = {**secret, **values}
    for key in secret.keys() & values.keys():
        if isinstance(secret[key], Mapping) and isinstance(values[key], Mapping):
            result[key] = merge(values[key], secret[key])
    return result


def _packages(lab: Layout) -> dict[str, Any]:
    """The key of the package repository that this lab serves: made with it, so that no file in git can have it."""
    if not lab.packages_key.exists():
        return {}
    source = {"packageSource": {"key": lab.packages_key.read_text()}}
    return {"config": {"antmedia:database": source}}


def _secrets(stack: str, lab: Layout) -> dict[str, Any]:
    """The lab's secrets, encrypted by the CLI itself in a project of their own."""
    project = lab.state / "secrets"
    file = project / f"Pulumi.{stack}.yaml"
    if stack_secrets.missing(stack_secrets.read(file).get("config") or {}):
        _make_secrets(stack, lab.state, project, file)
    return stack_secrets.read(file)


def _make_secrets(stack: str, state: Path, project: Path, file: Path) -> None:
    passphrase = state / "passphrase"
    if not passphrase.exists():
        _write(passphrase, secrets.token_urlsafe(24))
    project.mkdir(mode=0o700, exist_ok=True)
    (project / "Pulumi.yaml").write_text("name: antmedia\nruntime: python\n")
    (state / "pulumi").mkdir(mode=0o700, exist_ok=True)
    toolchain = cache.root() / "toolchain" / "current"
    env = {
        **os.environ,
        "PULUMI_HOME": str(toolchain / "home"),
        "PULUMI_BACKEND_URL": f"file://{state}/pulumi",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    env.pop("PULUMI_CONFIG_PASSPHRASE", None)
    pulumi = [str(toolchain / "bin" / "pulumi")]
    subprocess.run(
        [*pulumi, "stack", "select", "--create", stack, "--non-interactive"],
        check=True,
        cwd=project,
        env=env,
        stdout=subprocess.DEVNULL,
    )
    stack_secrets.add_missing(pulumi, stack, file, cwd=project, env=env)


def _write(path: Path, text: str) -> None:
    """Readable by its owner only, and never half written."""
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)


def main() -> int:
    """Print the path, or one sentence on what is wrong."""
    try:
        print(prepare(sys.argv[1]))
    except (LabStackError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
