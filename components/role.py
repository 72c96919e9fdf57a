"""What a host, or a service of AWS, may do in AWS: one role for it, with a policy for each thing that it does there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

Statements = pulumi.Input[Sequence[Mapping[str, Any]]]


def role(
    name: str,
    *,
    service: str,
    only_if: Mapping[str, Any] | None = None,
    policies: Mapping[str, Statements],
    tags: Mapping[str, str],
    parent: pulumi.Resource,
) -> tuple[aws.iam.Role, Sequence[aws.iam.RolePolicy]]:
    """A role that a service of AWS may take, `only_if` a condition holds, and its policies by name."""
    own = pulumi.ResourceOptions(parent=parent)
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": f"{service}.amazonaws.com"}}
    made = aws.iam.Role(
        name,
        assume_role_policy=pulumi.Output.json_dumps(
            _document([{**trust, **({"Condition": only_if} if only_if else {})}])
        ),
        tags=tags,
        opts=own,
    )
    return made, [
        aws.iam.RolePolicy(policy, role=made.id, policy=pulumi.Output.json_dumps(_document(statements)), opts=own)
        for policy, statements in policies.items()
    ]


def instance_profile(
    name: str, *, policies: Mapping[str, Statements], tags: Mapping[str, str], parent: pulumi.Resource
) -> pulumi.Output[str] | None:
    """A profile's name: its role, called `name`, may do what the policies' statements allow. None without policies."""
    if not policies:
        return None
    made, allowed = role(name, service="ec2", policies=policies, tags=tags, parent=parent)
    # A host that starts before its policies are there finds out by being refused.
    profile = aws.iam.InstanceProfile(
        name, role=made.name, tags=tags, opts=pulumi.ResourceOptions(parent=parent, depends_on=allowed)
    )
    return profile.name


def _document(statements: Statements) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
