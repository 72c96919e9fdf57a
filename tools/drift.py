"""`make drift STACK=…`: what on the hosts differs from what the program would put there now from the stack file.

Looks at every file that the program writes (content, mode, owner), at packages, units and the media servers' settings,
on all hosts at the same time, through the load balancer. Changes nothing and shows no secret. A host that cannot be
reached is a difference too.

Exit code 0: nothing differs. 2: something does; what mends it is said. 1: it could not be looked. (`make` turns every
failure into 2: where that matters, run `.venv/bin/python -m tools.drift STACK`.)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cluster import host_files, host_state
from cluster.host_state import Deployed, Finding, What
from cluster.plan import ClusterPlan, Node, plan
from tools import ssh
from tools.provision.steps import ProvisionError
from tools.recover import enter_lab, project_name, report
from tools.recovery.stack import RecoveryError, Stack, State

INSPECTION: Final = Path(__file__).parent / "inspection" / "host.py"

PATIENCE_SECONDS: Final = 60.0

AT_ONCE: Final = 8
"""sshd begins to refuse connections of which ten have not logged in yet (MaxStartups), and all go through one."""

DIFFERS: Final = 2

STORE: Final = "aws:secretsmanager/secret:Secret"
VOLUME: Final = "aws:ebs/volume:Volume"


class UnreachableError(Exception):
    """A host could not be asked. The text is ssh's, or the host's."""


@dataclass(frozen=True)
class Inspector:
    """Asks hosts. `folder` is of `ssh.login`, `nodes` the stack's output."""

    plan: ClusterPlan
    nodes: Mapping[str, Mapping[str, Any]]
    deployed: Deployed
    folder: Path

    def findings(self, node: Node) -> list[Finding]:
        """How a host differs."""
        wanted = host_state.expected(self.plan, node, self.deployed)
        try:
            seen = self._seen(node, host_state.request(wanted))
            if salt := seen["salts"].get(host_files.STATS_USERS.path):
                hashed = _hashed(self.plan.settings.stats.password.get_secret_value(), salt)
                deployed = dataclasses.replace(self.deployed, stats_password=hashed)
                wanted = host_state.expected(self.plan, node, deployed)
            return host_state.findings(node.name, wanted, seen)
        except UnreachableError as error:
            return [Finding(node.name, What.HOST, node.name, "answers", str(error))]

    def _seen(self, node: Node, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the inspection on the host answers. Raises UnreachableError."""
        command = ssh.command(self.folder, self.nodes, node.name, ["sudo", "python3", "-"])
        try:
            done = subprocess.run(
                command,
                input=f"{INSPECTION.read_text()}\n\nmain({request!r})\n",
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UnreachableError(f"no answer within {PATIENCE_SECONDS:.0f} s") from None
        if done.returncode:
            raise UnreachableError(_last_line(done.stderr) or f"ssh: exit {done.returncode}")
        try:
            seen: Mapping[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise UnreachableError("it answers, but not what was asked") from None
        return seen


def _last_line(text: str) -> str:
    return next(iter(text.strip().splitlines()[-1:]), "")


def _hashed(password: str, salt: str) -> str:
    """As the load balancer's own step does it. The password is not an argument."""
    try:
        done = subprocess.run(
            ["openssl", "passwd", "-6", "-salt", salt, "-stdin"],
            input=f"{password}\n", capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise RecoveryError("The command openssl, version 1.1.1 or newer, is needed here.") from None
    return done.stdout.strip()


def inspect(cluster: ClusterPlan, state: State, stack: Stack) -> list[Finding]:
    """Every difference, in the order of the plan's nodes. Raises RecoveryError where nothing can be looked at."""
    nodes: Mapping[str, Mapping[str, Any]] = state.outputs.get("nodes") or {}
    if not nodes:
        raise stack.no_hosts
    deployed = Deployed(
        address=state.outputs.get("loadBalancerAddress"),
        certificate_store=state.id_of(STORE),
        volume=state.id_of(VOLUME),
    )
    with ssh.login(cluster.settings.ssh) as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        inspector = Inspector(cluster, nodes, deployed, folder)
        both = [node for node in cluster.nodes if node.name in nodes]
        found = [each for several in pool.map(inspector.findings, both) for each in several]
    return [*_membership(cluster, nodes, stack), *_explained(found, cluster, stack)]


def _membership(cluster: ClusterPlan, nodes: Iterable[str], stack: Stack) -> Iterator[Finding]:
    planned = [node.name for node in cluster.nodes]
    for name in planned:
        if name not in nodes:
            yield Finding(name, What.HOST, name, "in the stack file", "not deployed", remedy=stack.next_command)
    for name in sorted(set(nodes) - set(planned)):
        yield Finding(name, What.HOST, name, "not in the stack file", "deployed", remedy=stack.next_command)


def _explained(found: Sequence[Finding], cluster: ClusterPlan, stack: Stack) -> Iterator[Finding]:
    """The same, with what a person types where no step mends it."""
    entrance = cluster.load_balancer.name
    cut_off = any(each.what is What.HOST and each.node == entrance for each in found)
    for each in found:
        if each.what is not What.HOST:
            by_hand = f'make ssh STACK={stack.name} NODE={each.node} ARGS="-- sudo {each.remedy}"'
            yield dataclasses.replace(each, remedy=by_hand) if each.remedy else each
        elif each.node != entrance and cut_off:
            yield dataclasses.replace(each, found=f"not asked: the way to it is {entrance}", remedy=f"mend {entrance}")
        else:
            own = "is this machine's address in adminCidrs? If it is, " if each.node == entrance else ""
            repair = f"make repair STACK={stack.name} NODE={each.node}"
            yield dataclasses.replace(each, remedy=f"{own}has the host died? Then: {repair}")


def mending(found: Sequence[Finding], state: State, stack: Stack) -> list[str]:
    """What a person types to have it as it is to be, first to last."""
    steps = list(dict.fromkeys(f"{each.node}-{each.step}" for each in found if each.step and not each.remedy))
    known = {urn.rpartition("::")[2] for urn in state.urns}
    again = [word for step in steps if step in known for word in ("--replace", f"**::{step}")]
    first_boot = dict.fromkeys(
        each.node for each in found if not each.step and not each.remedy and each.what is not What.HOST
    )
    commands = [shlex.join(["tools/pulumi", "up", "-s", stack.name, *again])] if steps else []
    commands += [f"make repair STACK={stack.name} NODE={node}" for node in first_boot]
    return [*commands, *dict.fromkeys(each.remedy for each in found if each.remedy)]


def document(found: Sequence[Finding], mend: Sequence[str], stack: Stack) -> dict[str, Any]:
    """For a machine."""
    return {
        "stack": stack.name,
        "findings": [dataclasses.asdict(each) for each in found],
        "mend": list(mend),
    }


def text(found: Sequence[Finding], mend: Sequence[str], cluster: ClusterPlan) -> str:
    """For a person."""
    if not found:
        return f"Nothing differs on {len(cluster.nodes)} hosts.\n"
    lines = []
    for node in dict.fromkeys(each.node for each in found):
        lines.append(node)
        for each in found:
            if each.node == node:
                lines.append(f"  {_sentence(each)}")
                lines += [f"    {line}" for line in each.diff.splitlines()]
    lines += ["", "What mends it:", *(f"  {command}" for command in mend)]
    return "\n".join(lines) + "\n"


def _sentence(finding: Finding) -> str:
    match finding.what:
        case What.HOST:
            return f"{finding.found}; expected: {finding.expected}"
        case What.CONTENT | What.PROPERTY:
            return f"{finding.subject} holds {finding.found}; expected: {finding.expected}"
        case What.PRESENCE | What.PACKAGE | What.ENABLED | What.ACTIVE:
            return f"{finding.subject} is {finding.found}; expected: {finding.expected}"
        case What.MODE | What.OWNER:
            return f"{finding.subject} has the {finding.what} {finding.found}; expected: {finding.expected}"


def main() -> int:
    """Look, and say what differs. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="make drift", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("--json", action="store_true", help="for a machine")
    parser.add_argument("--config-file", type=Path, help="the stack's file, where it is not in stacks/")
    arguments = parser.parse_args()
    stack = Stack(arguments.stack, arguments.config_file)
    try:
        enter_lab("tools.drift", stack.name, sys.argv[1:])
        state = stack.export()
        if state.operations:
            raise RecoveryError(
                f"An update of the stack has not ended. Wait for it, or: make recover STACK={stack.name}"
            )
        cluster = plan(stack.settings(), project=project_name(), stack=stack.name)
        found = inspect(cluster, state, stack)
    except (RecoveryError, ProvisionError) as error:
        return report(error)
    except KeyboardInterrupt:
        return 130
    mend = mending(found, state, stack)
    if arguments.json:
        print(json.dumps(document(found, mend, stack), indent=1))
    else:
        print(text(found, mend, cluster), end="")
    return DIFFERS if found else 0


if __name__ == "__main__":
    sys.exit(main())
