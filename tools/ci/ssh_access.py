"""Port 22 of a stack's load balancer, open to this machine while a command runs, and closed again whatever happens.

usage: python -m tools.ci.ssh_access run STACK -- COMMAND     exit code: the command's
       python -m tools.ci.ssh_access close STACK              what a killed `run` has left

The opening is a rule of its own in the load balancer's security group, which the Pulumi program does not know: as its
rules are resources of their own, too, neither touches the other's, and no preview shows a difference. Rules that
earlier jobs left are removed first. At a stack's first deployment there is no group yet: it is opened once it exists.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from botocore.exceptions import BotoCoreError, ClientError

from cluster.firewall import SSH, Group
from tools import stack_secrets
from tools.recover import project_name
from tools.recovery.account import Account
from tools.recovery.stack import CHECKOUT, RecoveryError

DESCRIPTION: Final = "SSH of a deployment job"
"""How the descriptions of these rules begin; nothing else in the group's rules begins so."""

OWN_ADDRESS: Final = "https://checkip.amazonaws.com"

POLL_SECONDS: Final = 2.0
"""How often a group that does not exist yet is looked for; a first connection is tried for minutes."""


@dataclass(frozen=True)
class Access:
    """The way in, by EC2's API."""

    ec2: Any
    tags: Mapping[str, str]
    """Which the group has and no other one."""

    def open(self, address: IPv4Address, job: str) -> bool:
        """Let one address in; False where there is no group yet."""
        if (group := self._group()) is None:
            return False
        self.ec2.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[
                {
                    "IpProtocol": "tcp",
                    "FromPort": SSH,
                    "ToPort": SSH,
                    "IpRanges": [{"CidrIp": f"{address}/32", "Description": f"{DESCRIPTION}{job}"}],
                }
            ],
        )
        return True

    def close(self) -> list[str]:
        """Remove every rule that `open` has made, also another job's. Returns whom they let in."""
        group = self._group()
        rules = self._rules(group) if group else []
        if rules:
            self.ec2.revoke_security_group_ingress(
                GroupId=group, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"] for rule in rules]
            )
        return [str(rule.get("CidrIpv4")) for rule in rules]

    def _group(self) -> str | None:
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in self.tags.items()]
        found = self.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        return str(found[0]["GroupId"]) if found else None

    def _rules(self, group: str) -> list[Any]:
        # Pages: a group may have more rules than one answer holds.
        pages = self.ec2.get_paginator("describe_security_group_rules").paginate(
            Filters=[{"Name": "group-id", "Values": [group]}]
        )
        rules = (rule for page in pages for rule in page["SecurityGroupRules"])
        return [rule for rule in rules if rule.get("Description", "").startswith(DESCRIPTION) and not rule["IsEgress"]]


def run(access: Access, address: IPv4Address, command: Sequence[str], job: str = "") -> int:
    """Run a command with the way in open to an address. Returns its exit code; 128 and the signal's number for one."""
    _report("removed what an earlier job left: port 22 was open to", access.close())
    over = threading.Event()
    waiting: threading.Thread | None = None
    try:
        if access.open(address, job):
            print(f"port 22 is open to {address}", flush=True)
        else:
            waiting = threading.Thread(target=_open_later, args=(access, address, job, over))
            waiting.start()
        return _supervised(command)
    finally:
        over.set()
        if waiting:
            waiting.join()
        _report("port 22 is closed to", access.close())


def _open_later(access: Access, address: IPv4Address, job: str, over: threading.Event) -> None:
    while not over.wait(POLL_SECONDS):
        try:
            if access.open(address, job):
                print(f"port 22 is open to {address}", flush=True)
                return
        except (ClientError, BotoCoreError) as error:
            print(f"port 22 could not be opened yet: {error}", file=sys.stderr, flush=True)


def _supervised(command: Sequence[str]) -> int:
    """The command in a session of its own, so that each signal reaches it once: as SIGTERM, which ends it in order."""
    process: subprocess.Popen[bytes] | None = None
    asked_to_end = False

    def end(*_: object) -> None:
        nonlocal asked_to_end
        asked_to_end = True
        if process:
            process.terminate()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        process = subprocess.Popen(command, start_new_session=True)
        if asked_to_end:
            process.terminate()
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _report(what: str, addresses: Sequence[str]) -> None:
    if addresses:
        print(f"{what} {', '.join(addresses)}", flush=True)


def own_address() -> IPv4Address:
    """The public address that AWS sees this machine at. Raises RecoveryError when it does not answer with one."""
    try:
        with urlopen(OWN_ADDRESS, timeout=30) as answer:
            return IPv4Address(answer.read().decode().strip())
    except (OSError, AddressValueError) as error:
        raise RecoveryError(f"{OWN_ADDRESS} did not tell this machine's address: {error}. Say it: --address.") from None


def access_to(stack: str, config_file: Path | None) -> Access:
    """By the stack file's own `aws:` settings, read without the engine, so that closing needs neither it nor its state.

    Raises:
        RecoveryError: there is no such stack file, or AWS cannot be asked.
    """
    file = config_file or CHECKOUT / "stacks" / f"Pulumi.{stack}.yaml"
    if not file.exists():
        raise RecoveryError(f"There is no stack file {file}.")
    config = stack_secrets.read(file).get("config") or {}
    settings = {key.removeprefix("aws:"): value for key, value in config.items() if key.startswith("aws:")}
    in_clear = {key: value for key, value in settings.items() if not (isinstance(value, dict) and "secure" in value)}
    group = Group.LOAD_BALANCER.value
    tags = {"Project": project_name(), "Stack": stack, "Role": group, "Node": group}
    return Access(Account(in_clear).client("ec2"), tags)


def main() -> int:
    """Run, or close. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.ci.ssh_access", description=__doc__)
    parser.add_argument("what", choices=("run", "close"))
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("--address", type=IPv4Address, help=f"whom to let in (what {OWN_ADDRESS} says)")
    parser.add_argument("--config-file", type=Path, help="the stack's file, where it is not in stacks/")
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    arguments, command = parser.parse_args(words[:at]), words[at + 1 :]
    if (arguments.what == "run") != bool(command):
        parser.error("run takes a command after --, close takes none")
    try:
        access = access_to(arguments.stack, arguments.config_file)
        if arguments.what == "close":
            _report("port 22 is closed to", access.close())
            return 0
        # Which run it was can be seen in the AWS console as well.
        job = f" {os.environ['GITHUB_RUN_ID']}" if "GITHUB_RUN_ID" in os.environ else ""
        return run(access, arguments.address or own_address(), command, job)
    except (RecoveryError, ClientError, BotoCoreError) as error:
        print(
            f"{error}\nWhether port 22 is closed: aws ec2 describe-security-group-rules --query "
            f"\"SecurityGroupRules[?starts_with(Description || '', '{DESCRIPTION}')]\"",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
