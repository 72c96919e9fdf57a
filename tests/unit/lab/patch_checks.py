"""For each patch of lab.ec2, what AWS does and stock moto does not, seen through boto3.

`python -m tests.unit.lab.patch_checks` runs each check in a process of its own with all patches but the one it is
about, and prints as JSON how each one failed; null for one that passed, whose patch nobody needs.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

import boto3
import cbor2
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lab.ec2 import model, patches, server
from lab.ec2.patches import cloudwatch as alarms
from tests.patience import PATIENCE

DEBIAN = "ami-0ccc0000000001302"
_NETWORKS = itertools.count(10)


@dataclass
class Api:
    """boto3 clients of a server, and the few things that most checks begin with."""

    url: str
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self._clients:
            connect = boto3.client
            self._clients[service] = connect(
                service,
                endpoint_url=self.url,
                region_name="us-east-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=Config(retries={"max_attempts": 0}),
            )
        return self._clients[service]

    @property
    def ec2(self) -> Any:
        return self.client("ec2")

    def network(self) -> Network:
        base = f"10.{next(_NETWORKS)}"
        vpc = self.ec2.create_vpc(CidrBlock=f"{base}.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock=f"{base}.0.0/24")["Subnet"]["SubnetId"]
        return Network(self, vpc, subnet, base)

    def instance(self, instance_id: str) -> Any:
        return self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


@dataclass
class Network:
    """A VPC with one subnet, `base`.0.0/24."""

    api: Api
    vpc: str
    subnet: str
    base: str

    def group(self, name: str = "own") -> str:
        return str(self.api.ec2.create_security_group(VpcId=self.vpc, GroupName=name, Description=name)["GroupId"])

    def launch(self, *, groups: list[str] | None = None, public: bool = False, host: int = 10, **more: Any) -> str:
        interface = {
            "DeviceIndex": 0,
            "SubnetId": self.subnet,
            "PrivateIpAddress": f"{self.base}.0.{host}",
            "AssociatePublicIpAddress": public,
            "Groups": groups or [],
        }
        found = self.api.ec2.run_instances(
            ImageId=DEBIAN, InstanceType="m5.large", MinCount=1, MaxCount=1, NetworkInterfaces=[interface], **more
        )
        return str(found["Instances"][0]["InstanceId"])

    def rules(self, group: str, egress: bool = False) -> list[Any]:
        filters = [{"Name": "group-id", "Values": [group]}]
        found = self.api.ec2.describe_security_group_rules(Filters=filters)["SecurityGroupRules"]
        return [rule for rule in found if rule["IsEgress"] == egress]


def error_code(call: Callable[..., Any], **arguments: Any) -> str:
    """The code that AWS's answer says; empty if the call succeeded."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def security_groups_of_the_primary_interface(api: Api) -> None:
    network = api.network()
    first, second = network.group("first"), network.group("second")
    instance = network.launch(groups=[first])
    shown = api.instance(instance)
    assert [g["GroupId"] for g in shown["SecurityGroups"]] == [first], "groups given at launch"
    interface = shown["NetworkInterfaces"][0]["NetworkInterfaceId"]
    api.ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[second])
    shown = api.instance(instance)
    assert [g["GroupId"] for g in shown["SecurityGroups"]] == [second], "groups changed on the interface"
    assert [g["GroupId"] for g in shown["NetworkInterfaces"][0]["Groups"]] == [second]
    seen = next(i for i in model.instances() if i.id == instance)
    assert seen.security_group_ids == (second,), "what the lab's firewall goes by"


def primary_interface_ends_with_the_instance(api: Api) -> None:
    network = api.network()
    instance = network.launch(host=10)
    address = api.ec2.allocate_address(Domain="vpc")
    api.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    api.ec2.terminate_instances(InstanceIds=[instance])
    api.ec2.terminate_instances(InstanceIds=[instance])
    inside = [{"Name": "vpc-id", "Values": [network.vpc]}]
    assert api.ec2.describe_network_interfaces(Filters=inside)["NetworkInterfaces"] == []
    shown = api.ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"][0]
    assert not shown.get("AssociationId"), "the Elastic IP of a terminated instance is free"
    network.launch(host=10)


def metadata_options_change_one_at_a_time(api: Api) -> None:
    asked = {"HttpTokens": "optional", "HttpPutResponseHopLimit": 3, "InstanceMetadataTags": "enabled"}
    instance = api.network().launch(MetadataOptions=asked)
    assert api.instance(instance)["MetadataOptions"].items() >= asked.items()
    api.ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
    expected = asked | {"HttpTokens": "required", "HttpEndpoint": "enabled"}
    assert api.instance(instance)["MetadataOptions"].items() >= expected.items()


def maintenance_options(api: Api) -> None:
    network = api.network()
    instance = network.launch(MaintenanceOptions={"AutoRecovery": "disabled"})
    assert api.instance(instance)["MaintenanceOptions"]["AutoRecovery"] == "disabled"
    api.ec2.modify_instance_maintenance_options(InstanceId=instance, AutoRecovery="default")
    assert api.instance(instance)["MaintenanceOptions"]["AutoRecovery"] == "default"
    other = network.launch(host=11)
    assert api.instance(other)["MaintenanceOptions"]["AutoRecovery"] == "default"


def root_volume_under_the_name_the_image_says(api: Api) -> None:
    shown = api.instance(api.network().launch())
    assert [device["DeviceName"] for device in shown["BlockDeviceMappings"]] == [shown["RootDeviceName"]]


def root_volume_as_asked_for(api: Api) -> None:
    asked = {"VolumeSize": 20, "VolumeType": "gp3", "Throughput": 250, "Iops": 4000}
    instance = api.network().launch(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": asked}])
    volume_id = api.instance(instance)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    volume = api.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    assert (volume["Size"], volume["VolumeType"], volume["Throughput"], volume["Iops"]) == (20, "gp3", 250, 4000)


def detailed_monitoring(api: Api) -> None:
    instance = api.network().launch()
    api.ec2.monitor_instances(InstanceIds=[instance])
    assert api.instance(instance)["Monitoring"]["State"] == "enabled"
    api.ec2.unmonitor_instances(InstanceIds=[instance])
    assert api.instance(instance)["Monitoring"]["State"] == "disabled"


def replaced_instance_profile_shows_on_the_instance(api: Api) -> None:
    iam = api.client("iam")
    profiles = {}
    for name in ("first", "second"):
        profile = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        profiles[name] = {"Arn": profile["Arn"], "Id": profile["InstanceProfileId"]}
    instance = api.network().launch(IamInstanceProfile={"Name": "first"})
    assert api.instance(instance)["IamInstanceProfile"] == profiles["first"]
    held = api.ec2.describe_iam_instance_profile_associations(Filters=[{"Name": "instance-id", "Values": [instance]}])
    association = held["IamInstanceProfileAssociations"][0]["AssociationId"]
    other = {"Name": "second"}
    api.ec2.replace_iam_instance_profile_association(AssociationId=association, IamInstanceProfile=other)
    assert api.instance(instance)["IamInstanceProfile"] == profiles["second"]
    api.ec2.disassociate_iam_instance_profile(AssociationId=association)
    assert "IamInstanceProfile" not in api.instance(instance)
    api.ec2.associate_iam_instance_profile(InstanceId=instance, IamInstanceProfile={"Name": "first"})
    assert api.instance(instance)["IamInstanceProfile"] == profiles["first"]
    api.ec2.terminate_instances(InstanceIds=[instance])
    for name in profiles:
        iam.delete_instance_profile(InstanceProfileName=name)


def public_addresses_from_the_lab_network(api: Api) -> None:
    network = api.network()
    interface = {"DeviceIndex": 0, "SubnetId": network.subnet, "AssociatePublicIpAddress": True}
    launched = api.ec2.run_instances(  # many at once, which is quick
        ImageId=DEBIAN, InstanceType="m5.large", MinCount=230, MaxCount=230, NetworkInterfaces=[interface]
    )["Instances"]
    held: list[Any] = []
    try:
        while len(held) < 25 and not error_code(lambda: held.append(api.ec2.allocate_address(Domain="vpc"))):
            pass
        with pytest.raises(ClientError, match=r"All 254 public addresses .* are in use: release"):
            api.ec2.allocate_address(Domain="vpc")
        given = [*(one["PublicIpAddress"] for one in launched), *(address["PublicIp"] for address in held)]
        assert all(ipaddress.ip_address(one) in ipaddress.ip_network("198.51.100.0/24") for one in given), given
        assert len(set(given)) == len(given) > 230, "each is in use once"
        freed = held.pop()
        api.ec2.release_address(AllocationId=freed["AllocationId"])
        held.append(api.ec2.allocate_address(Domain="vpc"))
        assert held[-1]["PublicIp"] == freed["PublicIp"], "the only free one"
    finally:
        api.ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in launched])
        for address in held:
            api.ec2.release_address(AllocationId=address["AllocationId"])


def elastic_ip_stays_through_stop_and_start(api: Api) -> None:
    instance = api.network().launch(public=True)
    address = api.ec2.allocate_address(Domain="vpc")
    api.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    api.ec2.stop_instances(InstanceIds=[instance])
    assert api.instance(instance).get("PublicIpAddress") == address["PublicIp"]
    api.ec2.start_instances(InstanceIds=[instance])
    assert api.instance(instance)["PublicIpAddress"] == address["PublicIp"]


def elastic_ip_moves_whole(api: Api) -> None:
    network = api.network()
    first, second = network.launch(host=10), network.launch(host=11)
    address, other = api.ec2.allocate_address(Domain="vpc"), api.ec2.allocate_address(Domain="vpc")
    api.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=first)
    api.ec2.associate_address(AllocationId=other["AllocationId"], InstanceId=second)
    api.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=second, AllowReassociation=True)
    assert "PublicIpAddress" not in api.instance(first)
    assert api.instance(second)["PublicIpAddress"] == address["PublicIp"]
    displaced = api.ec2.describe_addresses(AllocationIds=[other["AllocationId"]])["Addresses"][0]
    assert not displaced.get("AssociationId")


def between_groups(source: str, description: str | None = None, port: int = 5080) -> list[Any]:
    pair = {"GroupId": source} | ({"Description": description} if description else {})
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": [pair]}]


def description_of_a_rule_between_groups(api: Api) -> None:
    network = api.network()
    group, source = network.group("to"), network.group("from")
    api.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=between_groups(source, "media"))
    assert [rule.get("Description") for rule in network.rules(group)] == ["media"]


def rule_is_the_same_whatever_its_description(api: Api) -> None:
    network = api.network()
    group, source = network.group("to"), network.group("from")
    allow, revoke = api.ec2.authorize_security_group_ingress, api.ec2.revoke_security_group_ingress
    allow(GroupId=group, IpPermissions=between_groups(source, "media"))
    again = error_code(allow, GroupId=group, IpPermissions=between_groups(source, "other"))
    assert again == "InvalidPermission.Duplicate"
    allow(GroupId=group, IpPermissions=between_groups(source, "media", port=5443))
    revoke(GroupId=group, IpPermissions=between_groups(source))
    assert [rule["FromPort"] for rule in network.rules(group)] == [5443]


def change_of_any_rule(api: Api) -> None:
    network = api.network()
    group, source = network.group("to"), network.group("from")
    api.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=between_groups(source, "media"))

    def change(rule: Any, **new: Any) -> Any:
        request = [{"SecurityGroupRuleId": rule["SecurityGroupRuleId"], "SecurityGroupRule": new}]
        api.ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=request)
        changed = network.rules(group, egress=rule["IsEgress"])
        return next(r for r in changed if r["SecurityGroupRuleId"] == rule["SecurityGroupRuleId"])

    ingress, egress = network.rules(group)[0], network.rules(group, egress=True)[0]
    new = change(ingress, IpProtocol="tcp", FromPort=1935, ToPort=1936, ReferencedGroupId=source, Description="RTMP")
    assert (new["FromPort"], new["ToPort"], new.get("Description")) == (1935, 1936, "RTMP")
    assert new["ReferencedGroupInfo"]["GroupId"] == source
    new = change(egress, IpProtocol="-1", CidrIpv4="10.0.0.0/8", Description="inside")
    assert (new["CidrIpv4"], new["Description"]) == ("10.0.0.0/8", "inside")
    new = change(egress, IpProtocol="tcp", FromPort=443, ToPort=443, CidrIpv4="0.0.0.0/0")
    assert (new["FromPort"], new["CidrIpv4"], new.get("Description")) == (443, "0.0.0.0/0", None)


def group_in_use_is_not_deleted(api: Api) -> None:
    network = api.network()
    used, named, free = network.group("used"), network.group("named"), network.group("free")
    instance = network.launch(groups=[used])
    api.ec2.authorize_security_group_ingress(GroupId=free, IpPermissions=between_groups(named))
    assert error_code(api.ec2.delete_security_group, GroupId=used) == "DependencyViolation"
    assert error_code(api.ec2.delete_security_group, GroupId=named) == "DependencyViolation"
    api.ec2.terminate_instances(InstanceIds=[instance])
    for group in (free, named, used):
        api.ec2.delete_security_group(GroupId=group)


def subnet_in_use_is_not_deleted(api: Api) -> None:
    network = api.network()
    instance = network.launch()
    assert error_code(api.ec2.delete_subnet, SubnetId=network.subnet) == "DependencyViolation"
    api.ec2.terminate_instances(InstanceIds=[instance])
    api.ec2.delete_subnet(SubnetId=network.subnet)


def gateway_with_public_addresses_is_not_detached(api: Api) -> None:
    network = api.network()
    gateway = api.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    both = {"InternetGatewayId": gateway, "VpcId": network.vpc}
    api.ec2.attach_internet_gateway(**both)
    instance = network.launch(public=True)
    assert error_code(api.ec2.detach_internet_gateway, **both) == "DependencyViolation"
    api.ec2.terminate_instances(InstanceIds=[instance])
    api.ec2.detach_internet_gateway(**both)


def default_network_acl_ends_with_its_vpc(api: Api) -> None:
    network = api.network()
    inside = [{"Name": "vpc-id", "Values": [network.vpc]}]
    assert len(api.ec2.describe_network_acls(Filters=inside)["NetworkAcls"]) == 1
    api.ec2.delete_subnet(SubnetId=network.subnet)
    api.ec2.delete_vpc(VpcId=network.vpc)
    assert api.ec2.describe_network_acls(Filters=inside)["NetworkAcls"] == []


def flow_log_knows_its_log_group_by_arn(api: Api) -> None:
    logs, vpc = api.client("logs"), api.network().vpc
    logs.create_log_group(logGroupName="/a/b")
    group = logs.describe_log_groups(logGroupNamePrefix="/a/b")["logGroups"][0]["arn"]
    made = [
        api.ec2.create_flow_logs(
            ResourceType="VPC",
            ResourceIds=[vpc],
            TrafficType="ALL",
            LogDestination=arn,
            DeliverLogsPermissionArn="arn:aws:iam::123456789012:role/r",
        )["FlowLogIds"][0]
        for arn in (group, group.replace("/a/b", "/a/c"))
    ]
    there, absent = (api.ec2.describe_flow_logs(FlowLogIds=[each])["FlowLogs"][0] for each in made)
    assert (there["DeliverLogsStatus"], there["LogGroupName"]) == ("SUCCESS", "/a/b")
    assert (absent["DeliverLogsStatus"], absent["LogGroupName"]) == ("FAILED", "/a/c")
    api.ec2.delete_flow_logs(FlowLogIds=made)
    logs.delete_log_group(logGroupName="/a/b")


def zone_with_a_vpc_is_private(api: Api) -> None:
    zone = api.client("route53").create_hosted_zone(
        Name="db.internal", CallerReference="1", VPC={"VPCRegion": "us-east-1", "VPCId": api.network().vpc}
    )["HostedZone"]["Id"]
    shown = api.client("route53").get_hosted_zone(Id=zone)
    assert shown["HostedZone"]["Config"]["PrivateZone"] is True
    assert len(shown["VPCs"]) == 1
    api.client("route53").delete_hosted_zone(Id=zone)


def alarm_goes_by_its_metric(api: Api) -> None:
    cloudwatch, now = api.client("cloudwatch"), datetime.now(UTC).replace(second=10, microsecond=0)
    stack = [{"Name": "Stack", "Value": "one"}]
    metric = {"Namespace": "antmedia", "MetricName": "NodesDown", "Dimensions": stack}
    alarm = {"Statistic": "Minimum", "Period": 60, "EvaluationPeriods": 2, "Threshold": 1.0, **metric}

    def put_alarm(name: str, **more: Any) -> None:
        cloudwatch.put_metric_alarm(
            AlarmName=name, ComparisonOperator="GreaterThanOrEqualToThreshold", **{**alarm, **more}
        )

    def states() -> dict[str, str]:
        found = cloudwatch.describe_alarms(AlarmNames=["down", "silent", "elsewhere"])["MetricAlarms"]
        return {each["AlarmName"]: each["StateValue"] for each in found}

    def put(value: float, periods_ago: int) -> None:
        at = now.replace(second=0) - timedelta(seconds=60 * periods_ago)
        datum = {"MetricName": "NodesDown", "Dimensions": stack, "Value": value, "Timestamp": at}
        cloudwatch.put_metric_data(Namespace="antmedia", MetricData=[datum])

    alarms._now = lambda: now  # no period ends meanwhile
    put_alarm("down")
    put_alarm("silent", MetricName="Heartbeat", TreatMissingData="breaching")
    put_alarm("elsewhere", Dimensions=[{"Name": "Stack", "Value": "two"}])
    assert states() == {"down": "INSUFFICIENT_DATA", "silent": "ALARM", "elsewhere": "INSUFFICIENT_DATA"}
    put(0, periods_ago=2)
    put(1, periods_ago=1)
    assert states()["down"] == "OK", "one period of two"
    put(1, periods_ago=2)
    assert states()["down"] == "OK", "the least of that period is still 0"
    put_alarm("down", Statistic="Maximum")
    assert states()["down"] == "ALARM"
    assert states()["elsewhere"] == "INSUFFICIENT_DATA", "those are another stack's"
    put(5, periods_ago=0)
    put_alarm("down", Statistic="Maximum", Threshold=2.0)
    assert states()["down"] == "OK", "a period that has not ended does not count"
    cloudwatch.delete_alarms(AlarmNames=["down", "silent", "elsewhere"])


def rpc_v2_cbor(api: Api) -> None:
    def call(operation: str, **request: Any) -> Any:
        question = Request(
            f"{api.url}/service/GraniteServiceVersion20100801/operation/{operation}",
            data=cbor2.dumps(request),
            method="POST",
            headers={
                "smithy-protocol": "rpc-v2-cbor",
                "Content-Type": "application/cbor",
                "Authorization": "AWS4-HMAC-SHA256 Credential=test/20261101/us-east-1/monitoring/aws4_request",
            },
        )
        with urlopen(question, timeout=PATIENCE) as response:
            assert response.headers["smithy-protocol"] == "rpc-v2-cbor"
            return cbor2.loads(response.read())

    alarm = {
        "AlarmName": "cpu",
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "MetricName": "CPUUtilization",
        "Namespace": "AWS/EC2",
        "Period": 60,
        "Statistic": "Average",
        "Threshold": 80.0,
    }
    call("PutMetricAlarm", **alarm)
    shown = call("DescribeAlarms", AlarmNames=["cpu"])["MetricAlarms"][0]
    assert {key: shown[key] for key in alarm} == alarm
    assert shown["AlarmConfigurationUpdatedTimestamp"].year >= 2020, "a time, not a number"
    call("DeleteAlarms", AlarmNames=["cpu"])


CHECKS: dict[str, Callable[[Api], None]] = {
    check.__name__: check
    for check in (
        security_groups_of_the_primary_interface,
        primary_interface_ends_with_the_instance,
        metadata_options_change_one_at_a_time,
        root_volume_under_the_name_the_image_says,
        root_volume_as_asked_for,
        detailed_monitoring,
        replaced_instance_profile_shows_on_the_instance,
        public_addresses_from_the_lab_network,
        elastic_ip_stays_through_stop_and_start,
        elastic_ip_moves_whole,
        description_of_a_rule_between_groups,
        rule_is_the_same_whatever_its_description,
        change_of_any_rule,
        group_in_use_is_not_deleted,
        subnet_in_use_is_not_deleted,
        gateway_with_public_addresses_is_not_detached,
        default_network_acl_ends_with_its_vpc,
        flow_log_knows_its_log_group_by_arn,
        zone_with_a_vpc_is_private,
        maintenance_options,
        alarm_goes_by_its_metric,
        rpc_v2_cbor,
    )
}


def start(without: tuple[str, ...] = ()) -> tuple[server.Server, Api]:
    """A server on a free port of the loopback interface."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    running = server.serve(sock, without=without)
    return running, Api(running.url)


def _failure_without(patch: str) -> str | None:
    """How a patch's check fails when all patches but that one are applied, in a fork of this process."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        found: str | None = None
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  (the process ends in a moment)
        try:
            CHECKS[patch](start((patch,))[1])
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"[:300]
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:  # noqa: PTH123
        answer: str | None = json.loads(pipe.read())
    os.wait()
    return answer


def main() -> None:
    everything = [*patches.PATCHES, "rpc_v2_cbor"]
    # Once here instead of once in each fork: moto loaded, boto3's description of EC2 read.
    stock, api = start(tuple(everything))
    api.ec2.describe_vpcs()
    stock.close()
    print(json.dumps({patch: _failure_without(patch) for patch in everything}, indent=1))


if __name__ == "__main__":
    main()
