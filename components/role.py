"""What a host may do in AWS: one role for it, with a policy for each thing that it does there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws


def instance_profile(
    name: str,
    *,
    policies: Mapping[str, pulumi.Input[Sequence[Mapping[str, Any]]]],
    tags: Mapping[str, str],
    parent: pulumi.Resource,
) -> pulumi.Output[str] | None:
    """A profile's name: its role, called `name`, may do what the policies' statements allow. None without policies."""
    if not policies:
        return None
    own = pulumi.ResourceOptions(parent=parent)
    role = aws.iam.Role(
        name,
        assume_role_policy=json.dumps(
            _document([{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}])
        ),
        tags=tags,
        opts=own,
    )
    allowed = [
        aws.iam.RolePolicy(policy, role=role.id, policy=pulumi.Output.json_dumps(_document(statements)), opts=own)
        for policy, statements in policies.items()
    ]
    # A host that starts before its policy is there finds out by being refused.
    profile = aws.iam.InstanceProfile(
        name, role=role.name, tags=tags, opts=pulumi.ResourceOptions(parent=parent, depends_on=allowed)
    )
    return profile.name


def _document(statements: pulumi.Input[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
