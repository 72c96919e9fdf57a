"""`make recover STACK=…`: after an update that was interrupted, so that the next one finishes.

Clears the backend's lock when nobody holds it any more, deletes from AWS what was half made, has the engine read anew
what was being changed, and takes the unfinished operations out of the state. It can be run twice, and after it was
itself interrupted: the state is edited last.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml
from botocore.exceptions import BotoCoreError, ClientError

from tools import invocation
from tools.provision.steps import ProvisionError
from tools.recovery import kinds, leftovers, locks, plugins, sidecars
from tools.recovery.account import Account
from tools.recovery.leftovers import Leftovers, Object
from tools.recovery.stack import CHECKOUT, INSTANCE, RecoveryError, Stack, State

SETTLE_SECONDS: Final = 15.0
"""AWS may hide a new object from a list for some seconds. https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""

INSIDE: Final = "ANTMEDIA_INSIDE_LAB"


@dataclass
class Recovery:
    """One run. `did` counts what was done, or would be."""

    stack: Stack
    project: str
    yes: bool
    dry_run: bool
    did: int = 0

    def run(self) -> None:
        """Everything. Raises RecoveryError where a person has to decide or to put something right."""
        self._clear_lock()
        self._end_plugins()
        if self.dry_run and sidecars.damaged(self.stack.backend_url(), self.project, self.stack.name):
            print("what else there is to do can be seen only after that")
            return
        account = Account(self.stack.configuration())
        state = self.stack.export()
        account.require(state.account)
        if not account.is_emulated:
            _settle(state)
        found = leftovers.survey(account.client, state, self.project, self.stack.name)
        self._delete(account, found.half_made)
        self._finish_operations(account, state, found)
        for volume in found.volumes:
            print(f"left alone: the volume {volume}, which no host uses and which may hold data; delete it by hand")
        # A lab's account is that lab's alone; in any other one there may be another deployment of this name.
        is_ours_alone = invocation.LAB_STACK.fullmatch(self.stack.name) is not None
        if found.unknown and not self.dry_run and not is_ours_alone:
            listed = "\n".join(f"  {each}" for each in found.unknown)
            self._ask(
                f"These carry this deployment's tags, and its state does not know them:\n{listed}\n"
                "If another deployment has the same name, they are that one's. Delete them?"
            )
        self._delete(account, found.unknown, plan="would ask whether to delete")

    def _say(self, done: str, plan: str, what: object) -> None:
        self.did += 1
        print(f"{plan if self.dry_run else done} {what}", flush=True)

    def _clear_lock(self) -> None:
        backend = self.stack.backend_url()
        held = locks.find(
            backend,
            self.project,
            self.stack.name,
            shown=lambda: self.stack.pulumi("stack", "ls", "--json", "--non-interactive", named=False),
            s3=lambda: Account({}).client("s3"),
        )
        for lock in held:
            if lock.is_held:
                raise RecoveryError(
                    f"An update of the stack {self.stack.name} is running: {lock}. Nothing was changed. "
                    "Wait for it, or end it with Ctrl-C, then run this again."
                )
        foreign = [lock for lock in held if not lock.is_of_this_machine]
        if foreign and not self.dry_run:
            self._ask(
                f"The stack {self.stack.name} is locked by {'; '.join(map(str, foreign))}. "
                "Whether that still runs cannot be seen from here. Clear the lock?"
            )
        for lock in held:
            self._say("cleared", "would clear", f"the lock of {lock}")
        for file in sidecars.damaged(backend, self.project, self.stack.name):
            self._say("removed", "would remove", f"{file}, half written")
            if not self.dry_run:
                file.unlink()
        if held and not self.dry_run:
            self.stack.pulumi("cancel", "--yes", "--non-interactive")

    def _end_plugins(self) -> None:
        environment = self.stack.environment
        lab = invocation.LAB_STACK.fullmatch(self.stack.name)
        backend = self.stack.backend_url() if lab else environment.get("PULUMI_BACKEND_URL")
        for pid in plugins.orphans(CHECKOUT, backend):
            self._say("ended", "would end", f"process {pid}, a plugin that outlived its engine")
            if not self.dry_run:
                plugins.end(pid)

    def _delete(self, account: Account, objects: Sequence[Object], plan: str = "would delete") -> None:
        if self.dry_run:
            for each in objects:
                self._say("", plan, each)
            return
        for each, was_there in leftovers.delete(account.client, objects):
            if was_there:
                self._say("deleted", "", each)

    def _finish_operations(self, account: Account, state: State, found: Leftovers) -> None:
        if not state.operations:
            return
        # An update or a deletion may have happened or not: only AWS knows.
        changing = [each for each in state.operations if each.kind in ("updating", "deleting") and each.is_in_aws]
        urns = sorted({each.urn for each in changing} & state.urns)
        for urn in urns:
            self._say("read anew", "would read anew", urn.rpartition("::")[2])
        if self.dry_run:
            for operation in state.operations:
                self._say("", "would forget", f"the unfinished operation: {operation}")
            return
        if found.unsure:
            listed = "\n".join(f"  {each.type} {each.name}" for each in found.unsure)
            self._ask(
                f"These were being created, and whether AWS has made them cannot be looked up here:\n{listed}\n"
                "Look there, and delete what you find. Forget them in the state?"
            )
        for operation in changing:
            if operation.type == INSTANCE and operation.kind == "deleting" and operation.id:
                _wait_if_ending(account, operation.id)
        if urns:
            self.stack.read_anew(urns)
            state = self.stack.export()
        backup = self.stack.drop_operations(state)
        for operation in state.operations:
            self._say("forgot", "", f"the unfinished operation: {operation}")
        print(f"the state before that: {_shown(backup)}")

    def _ask(self, question: str) -> None:
        ask(question, yes=self.yes)


def ask(question: str, *, yes: bool) -> None:
    """Go on only with a yes. Raises RecoveryError for a no, and where nobody can be asked."""
    if yes:
        print(question, "yes (--yes)", flush=True)
        return
    if not sys.stdin.isatty():
        raise RecoveryError(f"{question}\nNobody can be asked here: ARGS=--yes answers yes.")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise RecoveryError("Nothing more was changed.")


def _settle(state: State) -> None:
    """Wait until AWS shows what was made just before the state was last written."""
    if state.written is None:
        return
    age = (datetime.now(UTC) - state.written).total_seconds()
    if any(operation.is_create for operation in state.operations) and 0 <= age < SETTLE_SECONDS:
        time.sleep(SETTLE_SECONDS - age)


def _wait_if_ending(account: Account, instance: str) -> None:
    """The engine takes a host that is shutting down for one that exists."""
    ec2 = account.client("ec2")
    try:
        found = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    except ClientError as error:
        if kinds.is_gone(error):
            return
        raise
    if any(each["State"]["Name"] == "shutting-down" for reservation in found for each in reservation["Instances"]):
        kinds.wait_terminated(ec2, instance)


def _shown(path: Path) -> str:
    return str(path.relative_to(CHECKOUT)) if path.is_relative_to(CHECKOUT) else str(path)


def project_name() -> str:
    """The project's name, as Pulumi.yaml has it."""
    return str(yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())["name"])


def enter_lab(module: str, stack: str, words: Sequence[str]) -> None:
    """For a lab's stack: become the same program inside the lab's network, where its AWS API is.

    Raises:
        ProvisionError: no such lab, or not root.
    """
    if not invocation.LAB_STACK.fullmatch(stack) or os.environ.get(INSIDE):
        return
    lab = invocation.running_lab(os.environ)
    command = ["ip", "netns", "exec", lab.name, sys.executable, "-m", module, *words]
    os.execvpe(command[0], command, {**os.environ, INSIDE: lab.name})


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """What recover and repair have in common."""
    made = argparse.ArgumentParser(prog=prog, description=description, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("stack", help="name of the stack")
    made.add_argument("--yes", action="store_true", help="answer every question with yes")
    made.add_argument("--config-file", type=Path, help="the stack's file, where it is not in stacks/")
    return made


def report(error: Exception) -> int:
    """Show one of the foreseeable errors; returns the exit code."""
    if isinstance(error, ClientError | BotoCoreError):
        error = RecoveryError(f"AWS refuses: {error}. Put that right, then run this again.")
    print(error, file=sys.stderr)
    return 1


def main() -> int:
    """Recover a stack, and say what is next."""
    arguments_parser = parser("make recover", __doc__)
    arguments_parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    arguments = arguments_parser.parse_args()
    stack = Stack(arguments.stack, arguments.config_file)
    recovery = Recovery(stack, project_name(), yes=arguments.yes, dry_run=arguments.dry_run)
    try:
        enter_lab("tools.recover", stack.name, sys.argv[1:])
        recovery.run()
    except (RecoveryError, ProvisionError, ClientError, BotoCoreError) as error:
        return report(error)
    except KeyboardInterrupt:
        print("\nInterrupted. To go on, run it again.", file=sys.stderr)
        return 130
    if not recovery.did:
        print(
            f"The stack {stack.name} is not locked, and nothing of it is unfinished or left over. Nothing was changed."
        )
    if arguments.dry_run:
        print("Nothing was changed (--dry-run).")
    else:
        print(f"Next: {stack.next_command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
