"""Objects without tags to look for: found by the name that the engine chose, and taken away in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tools.recovery.kinds import BY_TYPE, KINDS, delete

ROLE = "aws:iam/role:Role"
POLICY = "aws:iam/rolePolicy:RolePolicy"
PROFILE = "aws:iam/instanceProfile:InstanceProfile"
SECRET = "aws:secretsmanager/secret:Secret"
VOLUME = "aws:ebs/volume:Volume"
ATTACHMENT = "aws:ec2/volumeAttachment:VolumeAttachment"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
DASHBOARD = "aws:cloudwatch/dashboard:Dashboard"
TOPIC = "aws:sns/topic:Topic"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
ASSOCIATION = "aws:ec2/eipAssociation:EipAssociation"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
FLOW_LOG = "aws:ec2/flowLog:FlowLog"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


def found(kind: str, inputs: dict[str, Any]) -> list[str]:
    return BY_TYPE[kind].find(boto3.client(BY_TYPE[kind].service), inputs)


def taken_away(kind: str, id_: str) -> bool:
    return delete(boto3.client(BY_TYPE[kind].service), BY_TYPE[kind], id_)


def test_a_host_profile_is_found_and_taken_away_before_its_role(account: None) -> None:
    iam = boto3.client("iam")
    iam.create_role(RoleName="lb-1", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}))
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="lb-1", PolicyName="read-1", PolicyDocument=json.dumps(policy))
    iam.create_instance_profile(InstanceProfileName="profile-1")
    iam.add_role_to_instance_profile(InstanceProfileName="profile-1", RoleName="lb-1")
    assert found(ROLE, {"name": "lb-1"}) == ["lb-1"]
    assert found(POLICY, {"name": "read-1", "role": "lb-1"}) == ["lb-1:read-1"]
    assert found(PROFILE, {"name": "profile-1"}) == ["profile-1"]
    order = [kind.type for kind in KINDS]
    assert order.index(PROFILE) < order.index(ROLE) > order.index(POLICY)
    assert taken_away(PROFILE, "profile-1")
    assert taken_away(POLICY, "lb-1:read-1")
    assert taken_away(ROLE, "lb-1")
    assert iam.list_roles()["Roles"] == []


def test_a_secret_is_found_by_its_name_and_goes_at_once(account: None) -> None:
    secrets = boto3.client("secretsmanager")
    arn = secrets.create_secret(Name="certificate-1", SecretString="x")["ARN"]
    assert found(SECRET, {"name": "certificate-1"}) == [arn]
    assert taken_away(SECRET, arn)
    assert secrets.list_secrets(IncludePlannedDeletion=True)["SecretList"] == []


def test_what_watches_is_found_and_taken_away_before_what_it_tells(account: None) -> None:
    cloudwatch, sns = boto3.client("cloudwatch"), boto3.client("sns")
    topic = sns.create_topic(Name="alarms-1")["TopicArn"]
    sns.create_topic(Name="other-alarms-1")
    subscription = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="ops@example.com")["SubscriptionArn"]
    cloudwatch.put_dashboard(DashboardName="antmedia-test", DashboardBody="{}")
    cloudwatch.put_metric_alarm(
        AlarmName="antmedia-test-certificate",
        ComparisonOperator="LessThanThreshold",
        EvaluationPeriods=1,
        Namespace="antmedia",
        MetricName="CertificateDays",
        Statistic="Maximum",
        Period=60,
        Threshold=14,
    )
    assert found(DASHBOARD, {"dashboardName": "antmedia-test"}) == ["antmedia-test"]
    assert found(ALARM, {"name": "antmedia-test-certificate"}) == ["antmedia-test-certificate"]
    assert found(TOPIC, {"name": "alarms-1"}) == [topic]
    assert found(SUBSCRIPTION, {"topic": topic, "endpoint": "ops@example.com"}) == [subscription]
    order = [kind.type for kind in KINDS]
    assert order.index(DASHBOARD) < order.index(ALARM) < order.index(SUBSCRIPTION) < order.index(TOPIC)
    assert taken_away(DASHBOARD, "antmedia-test")
    assert taken_away(ALARM, "antmedia-test-certificate")
    assert taken_away(SUBSCRIPTION, subscription)
    assert taken_away(TOPIC, topic)
    assert not cloudwatch.list_dashboards()["DashboardEntries"]
    assert not cloudwatch.describe_alarms()["MetricAlarms"]
    assert len(sns.list_topics()["Topics"]) == 1
    assert not sns.list_subscriptions()["Subscriptions"]


def test_a_volume_is_detached_and_never_taken_for_a_half_made_one(account: None) -> None:
    ec2 = boto3.client("ec2")
    tags = {"Project": "antmedia", "Stack": "test", "Node": "database"}
    specification = {"ResourceType": "volume", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
    made = {"AvailabilityZone": "us-east-1a", "Size": 8, "TagSpecifications": [specification]}
    used = ec2.create_volume(**made)["VolumeId"]
    assert found(VOLUME, {"tags": tags}) == []
    image = ec2.describe_images()["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    wanted = {"volumeId": used, "instanceId": instance}
    assert found(ATTACHMENT, wanted) == []
    ec2.attach_volume(VolumeId=used, InstanceId=instance, Device="/dev/sdf")
    assert found(ATTACHMENT, wanted) == [f"{used} {instance}"]
    assert taken_away(ATTACHMENT, f"{used} {instance}")
    assert [each["VolumeId"] for each in ec2.describe_volumes(VolumeIds=[used])["Volumes"]] == [used]


def test_a_log_group_is_taken_for_a_half_made_one_only_while_nothing_is_in_it(account: None) -> None:
    logs, name = boto3.client("logs"), "/antmedia/test/flow-log"
    for each in (name, f"{name}-of-another"):
        logs.create_log_group(logGroupName=each)
    assert found(LOG_GROUP, {"name": name}) == [name]
    logs.create_log_stream(logGroupName=name, logStreamName="eni-1")
    assert found(LOG_GROUP, {"name": name}) == []
    assert taken_away(LOG_GROUP, name)
    assert not taken_away(LOG_GROUP, name)


def test_a_flow_log_is_ours_by_its_vpc_and_goes_before_what_it_writes_with(account: None) -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    made = ec2.create_flow_logs(
        ResourceType="VPC", ResourceIds=[vpc], TrafficType="ALL", LogGroupName="g", DeliverLogsPermissionArn="arn:r"
    )["FlowLogIds"]  # fmt: skip
    kind = BY_TYPE[FLOW_LOG]
    assert [kind.is_ours(ec2, made[0], {"vpcId": each}) for each in (vpc, "vpc-0123456789abcdef0")] == [True, False]
    order = [each.type for each in KINDS]
    assert order.index(FLOW_LOG) < min(map(order.index, (LOG_GROUP, ROLE, POLICY, "aws:ec2/vpc:Vpc")))
    assert taken_away(FLOW_LOG, made[0])
    assert not taken_away(FLOW_LOG, made[0])


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (ATTACHMENT, {"volumeId": "vol-0123456789abcdef0", "instanceId": "i-0123456789abcdef0"}),
        (ROLE, {"name": "none"}),
        (POLICY, {"name": "none", "role": "none"}),
        (PROFILE, {"name": "none"}),
        (SECRET, {"name": "none"}),
        (LOG_GROUP, {"name": "none"}),
        (DASHBOARD, {"dashboardName": "none"}),
        (ALARM, {"name": "none"}),
        (TOPIC, {"name": "none"}),
        (SUBSCRIPTION, {"topic": "arn:aws:sns:us-east-1:123456789012:none", "endpoint": "ops@example.com"}),
        (ASSOCIATION, {"allocationId": "eipalloc-0123456789abcdef0", "instanceId": "i-0123456789abcdef0"}),
    ],
)
def test_what_was_never_made_is_not_found(account: None, kind: str, inputs: dict[str, Any]) -> None:
    assert found(kind, inputs) == []


def test_what_is_gone_already_is_no_failure(account: None) -> None:
    assert not taken_away(ROLE, "none")
    assert not taken_away(PROFILE, "none")
    assert not taken_away(DASHBOARD, "none")
