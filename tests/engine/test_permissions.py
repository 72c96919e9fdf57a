"""What the real engine asks of AWS is in the deployer's policy. Every other test of this tier adds to it at its end."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.engine import permissions
from tests.engine.pulumi_cli import Engine, Run
from tests.engine.sandbox import AwsApi

pytestmark = pytest.mark.engine


def test_a_deployment_asks_for_nothing_that_the_policy_does_not_allow(
    aws: AwsApi, engine: Engine, first_up: Run
) -> None:
    engine.preview("--refresh")
    asked = aws.calls.read_text()
    assert {"ec2:RunInstances", "iam:CreateRole", "secretsmanager:CreateSecret"} <= permissions.actions(asked)
    assert permissions.complaint(asked) == ""


def test_the_policy_lets_each_role_of_a_deployment_be_given(aws: AwsApi, first_up: Run) -> None:
    (passing,) = [each for each in permissions.statements() if each["Sid"] == "PassRoles"]
    roles: list[dict[str, Any]] = aws.client("iam").list_roles()["Roles"]
    own = [role["Arn"] for role in roles if not role["Path"].startswith("/aws-service-role/")]
    assert own
    for arn in own:
        assert any(fnmatchcase(arn, pattern) for pattern in passing["Resource"]), f"PassRoles does not name {arn}"


def test_everything_that_can_have_the_stacks_tags_is_made_with_them(aws: AwsApi, first_up: Run) -> None:
    """The policy tells the stack's objects by these tags."""
    tagged = {"Project": "antmedia", "Stack": "engine", "ManagedBy": "pulumi"}
    ec2 = aws.client("ec2")
    for listing, found in (
        ("describe_vpcs", "Vpcs"),
        ("describe_subnets", "Subnets"),
        ("describe_route_tables", "RouteTables"),
        ("describe_internet_gateways", "InternetGateways"),
        ("describe_addresses", "Addresses"),
        ("describe_volumes", "Volumes"),
    ):
        own = [each for each in getattr(ec2, listing)()[found] if _tags(each)]
        assert own, found
        for each in own:
            assert tagged.items() <= _tags(each).items(), each


def _tags(described: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in described.get("Tags", ())}
