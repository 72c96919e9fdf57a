"""Credentials of roles, as instances get them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator

import boto3
import pytest

from lab.ec2 import model
from lab.ec2.roles import Credentials, RoleCredentials
from tests.unit.lab.patch_checks import Api, start

pytestmark = pytest.mark.unit

NOON = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    running, api = start()
    yield api
    running.close()


@pytest.fixture
def role(api: Api) -> Iterator[str]:
    """The ARN of a role, which the instance profile `node` gives."""
    iam = api.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn: str = iam.create_role(RoleName="node", AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    iam.create_instance_profile(InstanceProfileName="node")
    iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
    yield arn
    iam.remove_role_from_instance_profile(InstanceProfileName="node", RoleName="node")
    iam.delete_instance_profile(InstanceProfileName="node")
    iam.delete_role(RoleName="node")


def _caller(api: Api, credentials: Credentials) -> str:
    sts = boto3.client(
        "sts",
        endpoint_url=api.url,
        region_name="us-east-1",
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.token,
    )
    arn: str = sts.get_caller_identity()["Arn"]
    return arn


def test_the_account_knows_whose_credentials_they_are(api: Api, role: str) -> None:
    given = RoleCredentials().give(role, "i-1")
    assert _caller(api, given) == "arn:aws:sts::123456789012:assumed-role/node/i-1"


def test_they_stay_the_same_until_an_hour_before_their_end(role: str) -> None:
    now = [NOON]
    source = RoleCredentials(lambda: now[0])
    first = source.give(role, "i-1")
    assert (first.issued, first.expiration) == ("2026-11-01T12:00:00Z", "2026-11-01T18:00:00Z")
    assert source.give(role, "i-2") != first, "each instance has its own"
    now[0] = NOON + datetime.timedelta(hours=4, minutes=59)
    assert source.give(role, "i-1") == first
    now[0] = NOON + datetime.timedelta(hours=5)
    assert source.give(role, "i-1").expiration == "2026-11-01T23:00:00Z"


def test_an_instance_is_seen_with_its_profile_and_role(api: Api, role: str) -> None:
    network = api.network()
    instance = network.launch(IamInstanceProfile={"Name": "node"})

    def profile() -> model.InstanceProfile | None:
        return next(found for found in model.instances() if found.id == instance).profile

    found = profile()
    assert found is not None
    assert (found.arn, found.role_arn) == ("arn:aws:iam::123456789012:instance-profile/node", role)
    api.client("iam").remove_role_from_instance_profile(InstanceProfileName="node", RoleName="node")
    found = profile()
    assert found is not None and found.role_arn is None
    held = api.ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"][0]["AssociationId"]
    api.ec2.disassociate_iam_instance_profile(AssociationId=held)
    assert profile() is None
    api.client("iam").add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
    api.ec2.terminate_instances(InstanceIds=[instance])


def test_a_profile_deleted_while_in_use_gives_nothing(api: Api) -> None:
    api.client("iam").create_instance_profile(InstanceProfileName="gone")
    instance = api.network().launch(IamInstanceProfile={"Name": "gone"})
    api.client("iam").delete_instance_profile(InstanceProfileName="gone")
    seen = next(found for found in model.instances() if found.id == instance)
    assert seen.profile is not None and seen.profile.role_arn is None
    api.ec2.terminate_instances(InstanceIds=[instance])
