"""What a host, or a service of AWS, may do in AWS: one role for it, with one policy."""

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
    policy: str,
    statements: Statements,
    tags: Mapping[str, str],
    parent: pulumi.Resource,
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """A role that a service of AWS may take, `only_if` a condition holds, and its one policy, called `policy`."""
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
    return made, aws.iam.RolePolicy(
        policy, role=made.id, policy=pulumi.Output.json_dumps(_document(statements)), opts=own
    )


def instance_profile(
    name: str, *, policy: str, statements: Statements, tags: Mapping[str, str], parent: pulumi.Resource
) -> pulumi.Output[str]:
    """A profile's name: its role, called `name`, may do what the statements of its one policy allow."""
    made, allowed = role(name, service="ec2", policy=policy, statements=statements, tags=tags, parent=parent)
    # A host that starts before its policy is there finds out by being refused.
    profile = aws.iam.InstanceProfile(
        name, role=made.name, tags=tags, opts=pulumi.ResourceOptions(parent=parent, depends_on=[allowed])
    )
    return profile.name


def _document(statements: Statements) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
