"""Whether docs/iam-policy.json allows what the engine, `make recover` and the deployment jobs ask of AWS.

The lab's AWS API keeps a log of what was asked for and by whom (lab/ec2/calls.py). Only the actions are compared:
resources and conditions of the policy are AWS's to judge, and no emulator does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
POLICY: Final = CHECKOUT / "docs" / "iam-policy.json"

DEPLOYER: Final = "lab"
"""The access key of the lab's stacks. Tests ask with another one, and hosts with those of their roles."""

PREFIXES: Final = {"monitoring": "cloudwatch"}
"""What IAM calls a service, where requests are signed for another name."""

ONLY_HERE: Final = frozenset(("iam:GetUser",))
"""So AWS's provider learns the account's number where a stack file has `aws:skipCredentialsValidation`, as the lab's
have. Refused, it asks `sts:GetCallerIdentity`. Source: awsauth.go of aws-sdk-go-base."""

MORE: Final = {
    # The instance profile's role is passed to the host, and objects are made with their tags.
    "ec2:RunInstances": ("iam:PassRole", "ec2:CreateTags"),
    "ec2:CreateFlowLogs": ("iam:PassRole", "ec2:CreateTags"),
    "iam:CreateRole": ("iam:TagRole",),
    "iam:CreateInstanceProfile": ("iam:TagInstanceProfile",),
    "secretsmanager:CreateSecret": ("secretsmanager:TagResource",),
    "logs:CreateLogGroup": ("logs:TagResource",),
    "sns:CreateTopic": ("sns:TagResource",),
}
"""What IAM wants besides the action itself."""


def statements() -> list[dict[str, Any]]:
    """The policy's."""
    found: list[dict[str, Any]] = json.loads(POLICY.read_text())["Statement"]
    return found


def allowed() -> frozenset[str]:
    """Every action that the policy allows, whatever on."""
    return frozenset(action for each in statements() if each["Effect"] == "Allow" for action in each["Action"])


def actions(log: str, key: str = DEPLOYER) -> frozenset[str]:
    """IAM's actions for the calls of one access key in a log of lab/ec2/calls.py."""
    calls = (line.split(" ", 1) for line in log.splitlines())
    asked = {call for by, call in calls if by == key}
    named = {f"{PREFIXES.get(service, service)}:{name}" for service, _, name in (call.partition(":") for call in asked)}
    return frozenset(named.union(*(MORE.get(action, ()) for action in named)))


def complaint(log: str) -> str:
    """A sentence on what the policy lacks; nothing where it lacks nothing."""
    lacking: Iterable[str] = sorted(actions(log) - ONLY_HERE - allowed())
    said = ", ".join(lacking)
    return f"docs/iam-policy.json does not allow {said}: add it to a statement, least first" if said else ""
