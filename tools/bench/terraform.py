"""The other side of the benchmark of deployments: tools/bench/terraform/ with the values of the project's own plan."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cluster.cloud_init import LOGIN_USER, cloud_config, ssh_keys
from cluster.firewall import Group, groups, rules
from cluster.plan import ClusterPlan, Node
from components.remote import DIAL_TIMEOUT_SECONDS, DIAL_TRIES, RUN_AS_ROOT
from tests.engine.sandbox import API_PORT, Namespace

CONFIGURATION: Final = Path(__file__).resolve().parent / "terraform"
_NO_CHANGES, _CHANGES = 0, 2
"""Exit codes of `terraform plan -detailed-exitcode`."""


class TerraformUnavailableError(Exception):
    """There is nothing to compare with. The text says why."""


class TerraformError(Exception):
    """Terraform failed, or plans what it should not; the text holds what it said."""


class Terraform:
    """`terraform` in a namespace, in a directory of its own."""

    def __init__(self, namespace: Namespace, directory: Path, plugins: Path | None) -> None:
        """`plugins` is the one directory that providers are taken from; None: where terraform itself looks.

        Raises:
            TerraformUnavailableError: not installed, or it finds no provider.
        """
        program = shutil.which("terraform")
        if program is None:
            raise TerraformUnavailableError("terraform is not installed")
        self._program, self._namespace, self._directory = program, namespace, directory
        self._env = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_VAR_"))}
        self._env |= {"AWS_EC2_METADATA_DISABLED": "true", "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        directory.mkdir(mode=0o700)
        for file in CONFIGURATION.glob("*.tf"):
            shutil.copy(file, directory)
        # Outside of the namespace, from which no registry can be reached.
        options = [f"-plugin-dir={plugins.resolve()}"] if plugins else []
        made = self._ran([program, "init", "-input=false", "-no-color", *options])
        if made.returncode:
            raise TerraformUnavailableError(f"terraform init failed:\n{made.stdout}{made.stderr}")
        self.version = json.loads(self._ran([program, "version", "-json"]).stdout)["terraform_version"]

    def configure(self, values: Mapping[str, Any]) -> None:
        """From now on the configuration has these variables."""
        file = self._directory / "terraform.tfvars.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(values))

    def plan(self, *options: str) -> None:
        """Plan where nothing is to change."""
        self._inside("plan", "-detailed-exitcode", *options)

    def apply(self) -> None:
        """Make it so."""
        self._inside("apply", "-auto-approve")

    def resources(self) -> list[str]:
        """The addresses of all managed resources in the state."""
        listed = self._ran([self._program, "state", "list"]).stdout.split()
        return [address for address in listed if not address.startswith("data.")]

    def _inside(self, command: str, *options: str) -> None:
        words = [self._program, command, "-input=false", "-no-color", *options]
        ran = self._ran(self._namespace.command(*words))
        if ran.returncode != _NO_CHANGES:
            why = "there are changes" if ran.returncode == _CHANGES else f"exit {ran.returncode}"
            raise TerraformError(f"terraform {command}: {why}\n{ran.stdout}{ran.stderr}")

    def _ran(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=self._directory, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip


def variables(plan: ClusterPlan, steps: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The variables of the configuration for a plan; `steps` are standard inputs by node and step."""
    ssh = plan.settings.ssh
    database = plan.database
    assert database is not None, "the configuration is one with a database"
    user_data = json.dumps({**cloud_config(ssh), "ssh_keys": ssh_keys(ssh)}, indent=1)
    return {
        "api": f"http://127.0.0.1:{API_PORT}",
        "cidr": str(plan.vpc),
        "zones": {zone.name: {"number": zone.number, "subnet": str(zone.subnet)} for zone in plan.zones},
        "tags": _tags(plan),
        "flow_log_group": f"{plan.flow_log_group}-terraform",  # both are in one account
        "flow_log_days": plan.settings.network.flow_log_days,
        "groups": {group.value: f"antmedia {group.value} hosts" for group in groups(plan)},
        "rules": {
            rule.key: {
                "group": rule.row.group.value,
                "direction": rule.row.direction.value,
                "protocol": rule.row.ports.protocol,
                "first": rule.row.ports.first,
                "last": rule.row.ports.last,
                "cidr": rule.cidr,
                "peer": rule.peer_group.value if rule.peer_group else None,
                "why": rule.row.why,
                "tags": plan.tags(rule.row.group.value, rule.key),
            }
            for rule in rules(plan)
        },
        "nodes": {node.name: _node(plan, node) for node in plan.nodes},
        "database_volume_gb": plan.settings.database.volume_gb,
        "user_data": f"#cloud-config\n{user_data}",
        "login": {
            "user": LOGIN_USER,
            "private_key": ssh.private_key.get_secret_value(),
            "host_key": ssh.host_public_key,
            "dial_error_limit": DIAL_TRIES,
            "per_dial_timeout": DIAL_TIMEOUT_SECONDS,
        },
        "command": RUN_AS_ROOT,
        "steps": steps,
        "balancer_steps": list(steps[plan.load_balancer.name]),
        "database_steps": list(steps[database.name]),
    }


def _group(plan: ClusterPlan, node: Node) -> Group:
    if node is plan.load_balancer:
        return Group.LOAD_BALANCER
    return Group.DATABASE if node is plan.database else Group.MEDIA


def _node(plan: ClusterPlan, node: Node) -> dict[str, Any]:
    group = _group(plan, node).value
    return {
        "group": group,
        "zone": node.zone.name,
        "address": str(node.address),
        "ami": node.ami,
        "instance_type": node.instance_type,
        "volume_gb": node.volume_gb,
        "tags": plan.tags(group, node.name),
    }


def _tags(plan: ClusterPlan) -> dict[str, dict[str, str]]:
    names = ["vpc", "default-closed", "internet-gateway", "public", "flow-log", *(zone.name for zone in plan.zones)]
    return {
        **{name: plan.tags("network", name) for name in names},
        **{group.value: plan.tags(group.value, group.value) for group in groups(plan)},
        **{name: plan.tags(Group.LOAD_BALANCER.value, name) for name in ("public-address", "certificate")},
        "database": plan.tags(Group.DATABASE.value, "database"),
    }


def steps_of(state: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Standard inputs by node and step, from an exported state whose secrets are in the clear."""
    found: dict[str, dict[str, str]] = {}
    for resource in state["deployment"]["resources"]:
        if resource["type"] == "command:remote:Command":
            node = resource["parent"].rpartition("::")[2]
            step = resource["urn"].rpartition("::")[2].removeprefix(f"{node}-")
            stdin = resource["inputs"]["stdin"]
            found.setdefault(node, {})[step] = stdin if isinstance(stdin, str) else json.loads(stdin["plaintext"])
    return found
