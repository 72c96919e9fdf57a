"""The deployer's policy as a document, and what is told from the log of calls."""

from __future__ import annotations

import json
import re

import pytest

from tests.engine.permissions import POLICY, actions, allowed, complaint, statements

MANAGED_POLICY_CHARACTERS = 6144
"""IAM's limit for a policy of one's own, white space not counted. Source: IAM's manual, quotas."""

LONGEST_STACK, ZONE = "s" * 20, "Z" + "0" * 20


def test_it_is_one_policy_of_the_version_that_iam_wants() -> None:
    assert json.loads(POLICY.read_text())["Version"] == "2012-10-17"
    text = POLICY.read_text().replace("STACK", LONGEST_STACK).replace("ZONE", ZONE)
    assert len(re.sub(r"\s", "", text)) <= MANAGED_POLICY_CHARACTERS


def test_each_action_is_named_whole_and_once_in_a_statement() -> None:
    for each in statements():
        assert each["Effect"] == "Allow"
        assert each["Action"] == sorted(set(each["Action"])), each["Sid"]
        for action in each["Action"]:
            assert re.fullmatch(r"[a-z0-9]+:[A-Z]\w+", action), action


def test_each_statement_is_explained() -> None:
    page = (POLICY.parent / "iam.md").read_text()
    sids = [each["Sid"] for each in statements()]
    assert len(set(sids)) == len(sids)
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == sids


def test_nothing_is_changed_without_a_condition_or_a_resource_that_narrows_it() -> None:
    reading = re.compile(r"\w+:(Describe|Get|List)")
    wide = [each for each in statements() if each["Resource"] == "*" and "Condition" not in each]
    assert {action for each in wide for action in each["Action"] if not reading.match(action)} == {
        # Subscriptions have no name and no tags of their own that a policy could ask for.
        "sns:SetSubscriptionAttributes",
        "sns:Unsubscribe",
    }


def test_a_role_is_given_only_by_its_name_and_only_to_services_that_take_one() -> None:
    passing = [each for each in statements() if "iam:PassRole" in each["Action"]]
    assert [each["Action"] for each in passing] == [["iam:PassRole"]]
    assert all(re.fullmatch(r"arn:aws:iam::\*:role/[a-z-]+-\*", arn) for arn in passing[0]["Resource"])
    assert passing[0]["Condition"]["StringEquals"]["iam:PassedToService"]


def test_the_pages_examples_are_json() -> None:
    page = (POLICY.parent / "iam.md").read_text()
    examples = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert examples
    for example in examples:
        assert json.loads(example)["Statement"]


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("lab ec2:DescribeVpcs\ntest ec2:DescribeHosts\nASIA1 s3:PutObject", {"ec2:DescribeVpcs"}),
        ("lab monitoring:PutMetricAlarm", {"cloudwatch:PutMetricAlarm"}),
        ("lab ec2:RunInstances", {"ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"}),
        ("", set()),
    ],
)
def test_calls_of_the_deployer_become_actions(log: str, expected: set[str]) -> None:
    assert actions(log) == expected


def test_what_the_policy_lacks_is_named() -> None:
    assert complaint("lab ec2:DescribeVpcs") == ""
    assert "ec2:CreateNatGateway" not in allowed()
    assert complaint("lab ec2:CreateNatGateway\n").startswith(
        "docs/iam-policy.json does not allow ec2:CreateNatGateway:"
    )
