"""`make repair STACK=… NODE=…`: replace a host that died by itself, or that hangs.

Exactly that host is replaced, and what depends on it is done again: its Elastic IP follows, the steps on it run on the
new one, the load balancer proves itself anew. Nothing else is touched, whatever else the stack file says by now.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tools.provision.steps import ProvisionError
from tools.recover import ask, enter_lab, parser, report
from tools.recovery import kinds
from tools.recovery.account import Account
from tools.recovery.stack import INSTANCE, RecoveryError, Stack, State


def hosts(state: State) -> dict[str, Mapping[str, Any]]:
    """The hosts that the state knows, by node name."""
    return {
        resource["urn"].rpartition("::")[2]: resource
        for resource in state.resources
        if resource["type"] == INSTANCE and resource.get("id") and not resource.get("delete")
    }


def host(state: State, node: str, stack: Stack) -> Mapping[str, Any]:
    """One of them. Raises RecoveryError with those that there are."""
    found = hosts(state)
    if not found:
        raise stack.no_hosts
    if node not in found:
        wrong = f"The stack {stack.name} has no node {node}" if node else "Say which node, with NODE=name"
        raise RecoveryError(f"{wrong}; its nodes are {', '.join(sorted(found))}.")
    return found[node]


def condition(ec2: Any, instance: str) -> str:
    """What EC2 says of a host, in words."""
    try:
        described = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
        state = next((each["State"]["Name"] for found in described for each in found["Instances"]), None)
    except ClientError as error:
        if not kinds.is_gone(error):
            raise
        state = None
    if state is None:
        return "EC2 does not know it any more"
    if state != "running":
        return f"EC2 says {state}"
    checked = ec2.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"]
    failing = [
        name for name in ("SystemStatus", "InstanceStatus") if checked and checked[0][name]["Status"] == "impaired"
    ]
    return (
        "EC2 says running, and its status check fails" if failing else "EC2 says running; what it was doing will stop"
    )


def main() -> int:
    """Replace a host, after a question."""
    arguments_parser = parser("make repair", __doc__)
    arguments_parser.add_argument("node", help="name of the node, such as lb-1 or edge-1")
    arguments = arguments_parser.parse_args()
    stack = Stack(arguments.stack, arguments.config_file)
    try:
        enter_lab("tools.repair", stack.name, sys.argv[1:])
        state = stack.export()
        found = host(state, arguments.node, stack)
        if state.operations:
            raise RecoveryError(f"An update of the stack was interrupted; first: make recover STACK={stack.name}")
        account = Account(stack.configuration())
        account.require(state.account)
        ec2 = account.client("ec2")
        instance = str(found["id"])
        ask(f"{arguments.node} ({instance}): {condition(ec2, instance)}. Replace it?", yes=arguments.yes)
        code = stack.shown(
            "up", "--yes", "--skip-preview", "--target-replace", found["urn"], "--target-dependents"
        )  # fmt: skip
    except (RecoveryError, ProvisionError, ClientError, BotoCoreError) as error:
        return report(error)
    except KeyboardInterrupt:
        print(f"\nInterrupted. To go on: make recover STACK={stack.name}, then this again.", file=sys.stderr)
        return 130
    if code == 0:
        print(f"{arguments.node} is replaced.")
    return code


if __name__ == "__main__":
    sys.exit(main())
