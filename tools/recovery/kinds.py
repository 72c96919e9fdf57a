"""What a deployment makes in AWS: how each kind of object is found and taken away, in the order in which it can be.

Each function is given a client of the kind's service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError, WaiterError

from tools.recovery.stack import VOLUME, RecoveryError

Inputs = Mapping[str, Any]
"""A resource's inputs, as Pulumi names them."""

DEPENDENCY_SECONDS: Final = 120.0
"""EC2 goes on calling an object used for a while after its user is gone."""

NEW_VOLUME_SECONDS: Final = 600.0
"""Longer than EC2 takes to make a volume: meanwhile the state is written for other objects."""


@dataclass(frozen=True)
class Kind:
    """One kind. `find` is for what may have no tags: by its one natural key among the deployment's own objects."""

    type: str
    """Pulumi's token."""
    listing: tuple[str, str, str] | None
    """How EC2 lists them: the operation, where its answer has them, and where each has its id; None without tags."""
    noun: str
    delete: Callable[[Any, str], None]
    find: Callable[[Any, Inputs], list[str]] = lambda _ec2, _inputs: []
    is_ours: Callable[[Any, str, Inputs], bool] = lambda _ec2, _id, _inputs: True
    """Whether an object with the right tags stands where an operation was about to put it. Another deployment under the
    same name, with a state of its own, has the same tags."""
    service: str = "ec2"
    filters: str = "Filters"
    """What the listing calls its filters."""


def _delete_instance(ec2: Any, instance: str) -> None:
    try:
        ec2.terminate_instances(InstanceIds=[instance])
    except ClientError as error:
        if code(error) != "OperationNotPermitted":
            raise
        ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
        ec2.terminate_instances(InstanceIds=[instance])
    wait_terminated(ec2, instance)


def wait_terminated(ec2: Any, instance: str) -> None:
    """Wait until a host that is being terminated is, and its private address is free again."""
    try:
        ec2.get_waiter("instance_terminated").wait(
            InstanceIds=[instance], WaiterConfig={"Delay": 2, "MaxAttempts": 300}
        )
    except WaiterError as error:
        if "NotFound" not in str(error):
            raise RecoveryError(f"{instance} does not end: {error}. Look at it in AWS and run this again.") from None


def _delete_address(ec2: Any, allocation: str) -> None:
    for address in ec2.describe_addresses(AllocationIds=[allocation])["Addresses"]:
        if address.get("AssociationId"):
            ec2.disassociate_address(AssociationId=address["AssociationId"])
    ec2.release_address(AllocationId=allocation)


def _delete_rule(ec2: Any, rule: str) -> None:
    for found in ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule])["SecurityGroupRules"]:
        revoke = ec2.revoke_security_group_egress if found["IsEgress"] else ec2.revoke_security_group_ingress
        revoke(GroupId=found["GroupId"], SecurityGroupRuleIds=[rule])


def _delete_gateway(ec2: Any, gateway: str) -> None:
    for found in ec2.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"]:
        for attachment in found["Attachments"]:
            ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=attachment["VpcId"])
    ec2.delete_internet_gateway(InternetGatewayId=gateway)


def _delete_route_table(ec2: Any, table: str) -> None:
    for found in ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]:
        for association in found["Associations"]:
            if not association.get("Main"):
                ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
    ec2.delete_route_table(RouteTableId=table)


def _delete_group(ec2: Any, group: str) -> None:
    own = [{"Name": "group-id", "Values": [group]}]
    for rule in ec2.describe_security_group_rules(Filters=own)["SecurityGroupRules"]:
        _delete_rule(ec2, rule["SecurityGroupRuleId"])
    ec2.delete_security_group(GroupId=group)


def _delete_route(ec2: Any, route: str) -> None:
    table, destination = route.split(" ")
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock=destination)


def _find_route(ec2: Any, inputs: Inputs) -> list[str]:
    table, destination = inputs.get("routeTableId"), inputs.get("destinationCidrBlock")
    tables = _described(lambda: ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"])
    routes = (route for found in tables for route in found["Routes"])
    return [f"{table} {destination}" for route in routes if route.get("DestinationCidrBlock") == destination]


def _find_association(ec2: Any, inputs: Inputs) -> list[str]:
    tables = _described(lambda: ec2.describe_route_tables(RouteTableIds=[inputs["routeTableId"]])["RouteTables"])
    associations = (association for found in tables for association in found["Associations"])
    return [
        association["RouteTableAssociationId"]
        for association in associations
        if association.get("SubnetId") == inputs["subnetId"]
    ]


def _find_record(route53: Any, inputs: Inputs) -> list[str]:
    """Only one with the very content that was to be written: a zone may hold records of others."""
    zone, name, kind = inputs.get("zoneId"), str(inputs.get("name")), str(inputs.get("type"))
    found = _described(lambda: _record_sets(route53, f"{zone} {name} {kind}"))
    wanted = set(inputs.get("records") or ())
    return [
        f"{zone} {name} {kind}"
        for each in found
        if str(each.get("TTL")) == str(inputs.get("ttl"))
        and {record["Value"] for record in each.get("ResourceRecords", ())} == wanted
    ]


def _delete_record(route53: Any, record: str) -> None:
    for found in _record_sets(route53, record):
        change = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": found}]}
        route53.change_resource_record_sets(HostedZoneId=record.split(" ")[0], ChangeBatch=change)


def _record_sets(route53: Any, record: str) -> list[Any]:
    zone, name, kind = record.split(" ")
    listed = route53.list_resource_record_sets(
        HostedZoneId=zone, StartRecordName=name, StartRecordType=kind, MaxItems="1"
    )["ResourceRecordSets"]
    return [each for each in listed if each["Name"].rstrip(".") == name.rstrip(".") and each["Type"] == kind]


def _find_rule(is_egress: bool) -> Callable[[Any, Inputs], list[str]]:
    """A rule is authorised first and tagged afterwards; EC2 has no two alike in a group."""

    def find(ec2: Any, inputs: Inputs) -> list[str]:
        own = [{"Name": "group-id", "Values": [inputs["securityGroupId"]]}]
        rules = _described(lambda: ec2.describe_security_group_rules(Filters=own)["SecurityGroupRules"])
        return [
            rule["SecurityGroupRuleId"]
            for rule in rules
            if rule["IsEgress"] == is_egress
            and rule["IpProtocol"] == inputs["ipProtocol"]
            and (rule["IpProtocol"] == "-1" or (rule["FromPort"], rule["ToPort"]) == _ports(inputs))
            and rule.get("CidrIpv4") == inputs.get("cidrIpv4")
            and (rule.get("ReferencedGroupInfo") or {}).get("GroupId") == inputs.get("referencedSecurityGroupId")
        ]

    return find


def _ports(inputs: Inputs) -> tuple[int, int]:
    return int(inputs["fromPort"]), int(inputs["toPort"])


def _host_is_ours(ec2: Any, instance: str, inputs: Inputs) -> bool:
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    return all(each["SubnetId"] == inputs["subnetId"] for reservation in found for each in reservation["Instances"])


def _address_is_ours(ec2: Any, allocation: str, inputs: Inputs) -> bool:
    found = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"]
    return all((each.get("InstanceId") or inputs.get("instance")) == inputs.get("instance") for each in found)


def _rule_is_ours(ec2: Any, rule: str, inputs: Inputs) -> bool:
    found = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule])["SecurityGroupRules"]
    return all(each["GroupId"] == inputs["securityGroupId"] for each in found)


def _subnet_is_ours(ec2: Any, subnet: str, inputs: Inputs) -> bool:
    return all(each["VpcId"] == inputs["vpcId"] for each in ec2.describe_subnets(SubnetIds=[subnet])["Subnets"])


def _gateway_is_ours(ec2: Any, gateway: str, inputs: Inputs) -> bool:
    found = ec2.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"]
    return all(at["VpcId"] == inputs.get("vpcId") for each in found for at in each["Attachments"])


def _table_is_ours(ec2: Any, table: str, inputs: Inputs) -> bool:
    return all(
        each["VpcId"] == inputs["vpcId"] for each in ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    )


def _group_is_ours(ec2: Any, group: str, inputs: Inputs) -> bool:
    found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return all(each["VpcId"] == inputs["vpcId"] for each in found)


def _vpc_is_ours(ec2: Any, vpc: str, inputs: Inputs) -> bool:
    """One that has just been made is empty."""
    return not ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]


def _described(ask: Callable[[], Iterable[Any]]) -> list[Any]:
    """What there is; nothing when what was asked about is gone."""
    try:
        return list(ask())
    except ClientError as error:
        if is_gone(error):
            return []
        raise


def _find_secret(secrets: Any, inputs: Inputs) -> list[str]:
    """Pulumi ends such names with digits of its own: no other object has this one."""
    return _described(lambda: [secrets.describe_secret(SecretId=inputs["name"])["ARN"]])


def _delete_secret(secrets: Any, secret: str) -> None:
    secrets.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)


def _find_role(iam: Any, inputs: Inputs) -> list[str]:
    return _described(lambda: [iam.get_role(RoleName=inputs["name"])["Role"]["RoleName"]])


def _find_role_policy(iam: Any, inputs: Inputs) -> list[str]:
    role, policy = inputs["role"], inputs["name"]
    found = _described(lambda: [iam.get_role_policy(RoleName=role, PolicyName=policy)])
    return [f"{role}:{policy}" for _ in found]


def _delete_role_policy(iam: Any, id_: str) -> None:
    role, policy = id_.split(":")
    iam.delete_role_policy(RoleName=role, PolicyName=policy)


def _find_profile(iam: Any, inputs: Inputs) -> list[str]:
    name = inputs["name"]
    return _described(
        lambda: [iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["InstanceProfileName"]]
    )


def _delete_profile(iam: Any, profile: str) -> None:
    for role in iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"]:
        iam.remove_role_from_instance_profile(InstanceProfileName=profile, RoleName=role["RoleName"])
    iam.delete_instance_profile(InstanceProfileName=profile)


def _find_alarm(cloudwatch: Any, inputs: Inputs) -> list[str]:
    return [alarm["AlarmName"] for alarm in cloudwatch.describe_alarms(AlarmNames=[inputs["name"]])["MetricAlarms"]]


def _find_dashboard(cloudwatch: Any, inputs: Inputs) -> list[str]:
    name = inputs["dashboardName"]
    return _described(lambda: [cloudwatch.get_dashboard(DashboardName=name)["DashboardName"]])


def _find_topic(sns: Any, inputs: Inputs) -> list[str]:
    pages = sns.get_paginator("list_topics").paginate()
    topics = (topic["TopicArn"] for page in pages for topic in page["Topics"])
    return [topic for topic in topics if topic.endswith(f":{inputs['name']}")]


def _find_subscription(sns: Any, inputs: Inputs) -> list[str]:
    """An address that has not confirmed yet has a subscription without a name, which ends by itself."""
    topic, endpoint = inputs["topic"], inputs["endpoint"]
    found = _described(lambda: sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"])
    own = [each["SubscriptionArn"] for each in found if each["Endpoint"] == endpoint]
    return [arn for arn in own if arn.startswith("arn:")]


def _find_address_association(ec2: Any, inputs: Inputs) -> list[str]:
    allocation = inputs["allocationId"]
    addresses = _described(lambda: ec2.describe_addresses(AllocationIds=[allocation])["Addresses"])
    return [each["AssociationId"] for each in addresses if each.get("InstanceId") == inputs.get("instanceId")]


def _find_attachment(ec2: Any, inputs: Inputs) -> list[str]:
    volume, instance = inputs["volumeId"], inputs["instanceId"]
    volumes = _described(lambda: ec2.describe_volumes(VolumeIds=[volume])["Volumes"])
    attachments = (attachment for each in volumes for attachment in each["Attachments"])
    return [f"{volume} {instance}" for each in attachments if each["InstanceId"] == instance]


def volume_is_new(volume: Mapping[str, Any], inputs: Inputs, written: datetime) -> bool:
    """Whether a free volume is what an unfinished creation made, so that nothing can have been written to it.

    EC2 does not tell whether a volume was ever attached. This one has the name, size and place that were asked for, and
    was made no earlier than NEW_VOLUME_SECONDS before the state was last `written`: the engine, which alone attaches
    it, did not live to hear its id.
    """
    asked_for = (inputs.get("tags") or {}).get("Node"), inputs.get("availabilityZone"), int(inputs.get("size") or 0)
    name = next((tag["Value"] for tag in volume["Tags"] if tag["Key"] == "Node"), None)
    made: datetime = volume["CreateTime"]
    is_recent = made >= written - timedelta(seconds=NEW_VOLUME_SECONDS)
    return (name, volume["AvailabilityZone"], volume["Size"]) == asked_for and is_recent


def _detach_volume(ec2: Any, attachment: str) -> None:
    volume, instance = attachment.split(" ")
    ec2.detach_volume(VolumeId=volume, InstanceId=instance)


def _find_log_group(logs: Any, inputs: Inputs) -> list[str]:
    """Only one in which nothing has been written: nothing else tells it from another deployment's of the same name."""
    name = inputs["name"]
    groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return [
        name
        for group in groups
        if group["logGroupName"] == name and not logs.describe_log_streams(logGroupName=name)["logStreams"]
    ]


def _delete_flow_log(ec2: Any, flow_log: str) -> None:
    for refused in ec2.delete_flow_logs(FlowLogIds=[flow_log]).get("Unsuccessful", ()):
        raise RecoveryError(f"AWS keeps the flow log {flow_log}: {refused['Error']['Message']}")


def _flow_log_is_ours(ec2: Any, flow_log: str, inputs: Inputs) -> bool:
    found = ec2.describe_flow_logs(Filter=[{"Name": "flow-log-id", "Values": [flow_log]}])["FlowLogs"]
    return all(each["ResourceId"] == inputs["vpcId"] for each in found)


KINDS: Final = (
    Kind(
        "aws:cloudwatch/dashboard:Dashboard",
        None,
        "dashboard",
        lambda cloudwatch, dashboard: cloudwatch.delete_dashboards(DashboardNames=[dashboard]),
        _find_dashboard,
        service="cloudwatch",
    ),
    Kind(
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        None,
        "alarm",
        lambda cloudwatch, alarm: cloudwatch.delete_alarms(AlarmNames=[alarm]),
        _find_alarm,
        service="cloudwatch",
    ),
    Kind(
        "aws:sns/topicSubscription:TopicSubscription",
        None,
        "subscription",
        lambda sns, subscription: sns.unsubscribe(SubscriptionArn=subscription),
        _find_subscription,
        service="sns",
    ),
    Kind(
        "aws:sns/topic:Topic",
        None,
        "topic",
        lambda sns, topic: sns.delete_topic(TopicArn=topic),
        _find_topic,
        service="sns",
    ),
    Kind("aws:ec2/volumeAttachment:VolumeAttachment", None, "volume attachment", _detach_volume, _find_attachment),
    Kind("aws:route53/record:Record", None, "DNS record", _delete_record, find=_find_record, service="route53"),
    Kind(
        "aws:ec2/eipAssociation:EipAssociation",
        None,
        "Elastic IP association",
        lambda ec2, association: ec2.disassociate_address(AssociationId=association),
        find=_find_address_association,
    ),
    Kind(
        "aws:ec2/instance:Instance",
        ("describe_instances", "Reservations[].Instances[]", "InstanceId"),
        "host",
        _delete_instance,
        is_ours=_host_is_ours,
    ),
    # Only where `volume_is_new`: others may hold somebody's data, and are told of.
    Kind(VOLUME, None, "volume", lambda ec2, volume: ec2.delete_volume(VolumeId=volume)),
    Kind(
        "aws:ec2/eip:Eip",
        ("describe_addresses", "Addresses", "AllocationId"),
        "Elastic IP",
        _delete_address,
        is_ours=_address_is_ours,
    ),
    Kind(
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        ("describe_security_group_rules", "SecurityGroupRules", "SecurityGroupRuleId"),
        "rule",
        _delete_rule,
        find=_find_rule(is_egress=False),
        is_ours=_rule_is_ours,
    ),
    Kind(
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        ("describe_security_group_rules", "SecurityGroupRules", "SecurityGroupRuleId"),
        "rule",
        _delete_rule,
        find=_find_rule(is_egress=True),
        is_ours=_rule_is_ours,
    ),
    Kind("aws:ec2/route:Route", None, "route", _delete_route, find=_find_route),
    Kind(
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        None,
        "route table association",
        lambda ec2, association: ec2.disassociate_route_table(AssociationId=association),
        find=_find_association,
    ),
    Kind(
        "aws:ec2/subnet:Subnet",
        ("describe_subnets", "Subnets", "SubnetId"),
        "subnet",
        lambda ec2, subnet: ec2.delete_subnet(SubnetId=subnet),
        is_ours=_subnet_is_ours,
    ),
    Kind(
        "aws:ec2/internetGateway:InternetGateway",
        ("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
        "internet gateway",
        _delete_gateway,
        is_ours=_gateway_is_ours,
    ),
    Kind(
        "aws:ec2/routeTable:RouteTable",
        ("describe_route_tables", "RouteTables", "RouteTableId"),
        "route table",
        _delete_route_table,
        is_ours=_table_is_ours,
    ),
    Kind(
        "aws:ec2/securityGroup:SecurityGroup",
        ("describe_security_groups", "SecurityGroups", "GroupId"),
        "security group",
        _delete_group,
        is_ours=_group_is_ours,
    ),
    Kind(
        "aws:ec2/flowLog:FlowLog",
        ("describe_flow_logs", "FlowLogs", "FlowLogId"),
        "flow log",
        _delete_flow_log,
        is_ours=_flow_log_is_ours,
        filters="Filter",
    ),
    Kind(
        "aws:cloudwatch/logGroup:LogGroup",
        None,
        "log group",
        lambda logs, group: logs.delete_log_group(logGroupName=group),
        _find_log_group,
        service="logs",
    ),
    Kind(
        "aws:ec2/vpc:Vpc",
        ("describe_vpcs", "Vpcs", "VpcId"),
        "VPC",
        lambda ec2, vpc: ec2.delete_vpc(VpcId=vpc),
        is_ours=_vpc_is_ours,
    ),
    Kind(
        "aws:iam/instanceProfile:InstanceProfile",
        None,
        "instance profile",
        _delete_profile,
        _find_profile,
        service="iam",
    ),
    Kind("aws:iam/rolePolicy:RolePolicy", None, "role policy", _delete_role_policy, _find_role_policy, service="iam"),
    Kind(
        "aws:iam/role:Role",
        None,
        "role",
        lambda iam, role: iam.delete_role(RoleName=role),
        _find_role,
        service="iam",
    ),
    Kind("aws:secretsmanager/secret:Secret", None, "secret", _delete_secret, _find_secret, service="secretsmanager"),
)
"""In the order of deletion: each before what it stands on."""

ADOPTING: Final = frozenset(("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",))
"""Kinds that make nothing: they take over what a VPC comes with, and can do so again."""

BY_TYPE: Final = {kind.type: kind for kind in KINDS}


def is_rule_of(kind: Kind, found: Mapping[str, Any]) -> bool:
    """EC2 lists the rules of both directions together."""
    return "IsEgress" not in found or found["IsEgress"] == ("Egress" in kind.type)


def code(error: ClientError) -> str:
    """AWS's own name of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_gone(error: ClientError) -> bool:
    """Whether AWS says that there is no such object."""
    ends = (".NotFound", "NotFoundException", "ResourceNotFound", "NotFoundError")
    return code(error) == "NotFound" or code(error).endswith(ends) or code(error).startswith("NoSuch")


def delete(client: Any, kind: Kind, id_: str) -> bool:
    """Take an object away; whether there was one.

    Raises:
        RecoveryError: AWS refuses.
    """
    deadline, pause = time.monotonic() + DEPENDENCY_SECONDS, 0.5
    while True:
        try:
            kind.delete(client, id_)
        except ClientError as error:
            if is_gone(error):
                return False
            if code(error) != "DependencyViolation" or time.monotonic() > deadline:
                raise RecoveryError(
                    f"AWS keeps the {kind.noun} {id_}: {error}. Take away what uses it, then run this again."
                ) from None
            time.sleep(pause)
            pause = min(pause * 2, 8.0)
        else:
            return True
