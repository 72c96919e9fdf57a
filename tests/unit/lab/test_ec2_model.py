"""What the lab sees of the account is what a deployment made there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from lab.ec2 import ACCOUNT, model
from tests.unit.lab.patch_checks import DEBIAN, Api, Network, between_groups, start

pytestmark = pytest.mark.unit

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8P4zqY5uK2iaJZB7DLi8q+MD2Uat5pnCy4aZAL7hVP somebody"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    running, api = start()
    yield api
    running.close()


@pytest.fixture
def network(api: Api) -> Network:
    return api.network()


def seen(instance_id: str) -> model.Instance:
    return next(instance for instance in model.instances() if instance.id == instance_id)


def test_an_instance_is_seen_as_it_was_asked_for(api: Api, network: Network) -> None:
    group = network.group()
    api.ec2.import_key_pair(KeyName="login", PublicKeyMaterial=PUBLIC_KEY.encode())
    tags = [{"Key": "Name", "Value": "lb-1"}, {"Key": "Role", "Value": "lb"}]
    instance = seen(
        network.launch(
            groups=[group],
            KeyName="login",
            UserData="#cloud-config\n",
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "enabled"},
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
    )
    api.ec2.delete_key_pair(KeyName="login")
    assert (instance.state, instance.image_id, instance.instance_type) == ("running", DEBIAN, "m5.large")
    assert (instance.private_ip, instance.public_ip) == (f"{network.base}.0.10", None)
    assert (instance.vpc_id, instance.subnet_id, instance.subnet_cidr) == (
        network.vpc,
        network.subnet,
        f"{network.base}.0.0/24",
    )
    assert instance.user_data == b"#cloud-config\n"
    assert (instance.key_name, instance.public_key) == ("login", PUBLIC_KEY)
    assert instance.security_group_ids == (group,)
    assert instance.metadata_options == model.MetadataOptions("required", "enabled", 2, "disabled")
    assert (instance.name, instance.tags["Role"]) == ("lb-1", "lb")
    assert instance.mac.count(":") == 5


def test_user_data_that_is_not_text_arrives_unchanged(network: Network) -> None:
    gzip_like = bytes(range(256))
    assert seen(network.launch(UserData=gzip_like)).user_data == gzip_like


def test_the_states_of_an_instance_are_seen(api: Api, network: Network) -> None:
    instance = network.launch(public=True)
    first = seen(instance)
    assert first.public_ip is not None
    assert model.public_addresses()[first.public_ip] == first.private_ip
    api.ec2.stop_instances(InstanceIds=[instance])
    assert (seen(instance).state, seen(instance).public_ip) == ("stopped", None)
    api.ec2.start_instances(InstanceIds=[instance])
    assert seen(instance).state == "running"
    assert seen(instance).public_ip not in (None, first.public_ip), "as on EC2, a start gives another address"
    api.ec2.terminate_instances(InstanceIds=[instance])
    assert (seen(instance).state, seen(instance).public_ip) == ("terminated", None)


def test_an_elastic_ip_wins_over_the_automatic_address(api: Api, network: Network) -> None:
    instance = network.launch(public=True)
    automatic = seen(instance).public_ip
    address = api.ec2.allocate_address(Domain="vpc")
    api.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    assert seen(instance).public_ip == address["PublicIp"]
    assert model.public_addresses()[address["PublicIp"]] == seen(instance).private_ip
    assert automatic not in model.public_addresses()
    api.ec2.disassociate_address(PublicIp=address["PublicIp"])
    assert address["PublicIp"] not in model.public_addresses()
    api.ec2.release_address(AllocationId=address["AllocationId"])


def test_rules_are_seen_with_ports_source_and_reason(api: Api, network: Network) -> None:
    group, source = network.group("to"), network.group("from")
    from_anywhere = {"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "media"}]}
    udp = {"IpProtocol": "udp", "FromPort": 50000, "ToPort": 60000, **from_anywhere}
    ping = {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, **from_anywhere}
    permissions = [*between_groups(source, "HTTP"), udp, ping]
    api.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permissions)
    found = next(one for one in model.security_groups() if one.id == group)
    ends = [(r.protocol, r.from_port, r.to_port, r.cidr, r.group_id, r.description) for r in found.ingress]
    assert ends == [
        ("tcp", 5080, 5080, None, source, "HTTP"),
        ("udp", 50000, 60000, "0.0.0.0/0", None, "media"),
        ("icmp", -1, -1, "0.0.0.0/0", None, "media"),
    ]
    everything = [(r.protocol, r.from_port, r.to_port, r.cidr) for r in found.egress]
    assert everything == [("-1", None, None, "0.0.0.0/0")], "AWS's own first rule"


def test_a_subnet_reaches_the_internet_only_by_a_route_to_an_attached_gateway(api: Api, network: Network) -> None:
    def reaches() -> bool:
        return next(subnet for subnet in model.subnets() if subnet.id == network.subnet).reaches_internet

    ec2 = api.ec2
    assert not reaches()
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=network.vpc)
    table = ec2.create_route_table(VpcId=network.vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert not reaches(), "the table is not the subnet's"
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=network.subnet)["AssociationId"]
    assert reaches()
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=network.vpc)
    assert not reaches(), "a route to a gateway that is not attached leads nowhere"
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=network.vpc)
    ec2.disassociate_route_table(AssociationId=association)
    assert not reaches()


def test_the_default_vpc_is_not_shown(api: Api) -> None:
    default = api.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    assert default not in {vpc.id for vpc in model.vpcs()}
    assert default not in {subnet.vpc_id for subnet in model.subnets()}
    assert default not in {group.vpc_id for group in model.security_groups()}


@pytest.fixture
def zones(api: Api) -> Iterator[Callable[[str], Callable[..., None]]]:
    """Makes zones; each is a function that changes a record in it."""
    route53 = api.client("route53")
    made: list[str] = []

    def make(apex: str) -> Callable[..., None]:
        zone = route53.create_hosted_zone(Name=apex, CallerReference=f"{apex}{len(made)}")["HostedZone"]["Id"]
        made.append(zone)

        def change(action: str, name: str, value: str, kind: str = "A", ttl: int = 60) -> None:
            records = {"Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": [{"Value": value}]}
            batch = {"Changes": [{"Action": action, "ResourceRecordSet": records}]}
            route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)

        return change

    yield make
    for zone in made:
        for record in route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]:
            if record["Type"] not in ("SOA", "NS"):
                batch = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": record}]}
                route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)
        route53.delete_hosted_zone(Id=zone)


NO_SUCH_NAME = model.AddressRecords((), 60, exists=False)
NO_ADDRESS = model.AddressRecords((), 60)


def test_names_are_answered_from_route_53(zones: Callable[[str], Callable[..., None]]) -> None:
    change = zones("example.test")
    change("CREATE", "live.example.test", "198.51.100.7", ttl=300)
    assert model.a_records("live.example.test") == model.AddressRecords(("198.51.100.7",), 300)
    assert model.a_records("LIVE.example.test.") == model.AddressRecords(("198.51.100.7",), 300)
    change("UPSERT", "live.example.test", "198.51.100.9")
    assert model.a_records("live.example.test") == model.AddressRecords(("198.51.100.9",), 60)
    change("DELETE", "live.example.test", "198.51.100.9")
    assert model.a_records("live.example.test") == NO_SUCH_NAME
    assert model.a_records("example.test") == NO_ADDRESS, "the zone itself exists"
    assert model.a_records("example.org") is None, "no zone is responsible"
    assert model.a_records("otherexample.test") is None


def test_a_wildcard_is_for_names_that_do_not_exist(zones: Callable[[str], Callable[..., None]]) -> None:
    change = zones("wild.test")
    change("CREATE", "*.wild.test", "198.51.100.8")
    change("CREATE", "text.wild.test", '"some"', kind="TXT")
    change("CREATE", "a.b.wild.test", "198.51.100.9")
    assert model.a_records("any.wild.test") == model.AddressRecords(("198.51.100.8",), 60)
    assert model.a_records("far.down.wild.test") == model.AddressRecords(("198.51.100.8",), 60)
    assert model.a_records("text.wild.test") == NO_ADDRESS
    assert model.a_records("b.wild.test") == NO_ADDRESS, "it exists, because a name below it does"
    assert model.a_records("other.b.wild.test") == NO_SUCH_NAME, (
        "RFC 4592: the nearest name that exists has no wildcard"
    )


def test_only_the_nearest_zone_is_asked(zones: Callable[[str], Callable[..., None]]) -> None:
    outer = zones("near.test")
    outer("CREATE", "www.sub.near.test", "198.51.100.1")
    assert model.a_records("www.sub.near.test") == model.AddressRecords(("198.51.100.1",), 60)
    zones("sub.near.test")
    assert model.a_records("www.sub.near.test") == NO_SUCH_NAME


def test_what_is_left_is_told_by_kind_whatever_service_it_is_of(api: Api) -> None:
    before = model.objects()
    network = api.network()
    group = network.group()
    instance = network.launch(groups=[group])
    address = api.ec2.allocate_address(Domain="vpc")["AllocationId"]
    api.ec2.import_key_pair(KeyName="left", PublicKeyMaterial=PUBLIC_KEY.encode())
    iam, sns, logs = api.client("iam"), api.client("sns"), api.client("logs")
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    managed = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
    role = iam.create_role(RoleName="left", AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    iam.attach_role_policy(RoleName="left", PolicyArn=managed)
    topic = sns.create_topic(Name="left")["TopicArn"]
    logs.create_log_group(logGroupName="left")
    flow_log = api.ec2.create_flow_logs(
        ResourceIds=[network.vpc],
        ResourceType="VPC",
        TrafficType="ALL",
        LogDestinationType="cloud-watch-logs",
        LogGroupName="left",
        DeliverLogsPermissionArn=role,
    )["FlowLogIds"]

    left = {kind: sorted(set(ids) - set(before.get(kind, []))) for kind, ids in model.objects().items()}
    assert left["ec2 instances"] == [instance]
    assert left["ec2 vpcs"] == [network.vpc]
    assert left["ec2 subnets"] == [network.subnet]
    assert group in left["ec2 groups"]
    assert left["ec2 addresses"] == [address]
    assert left["ec2 flow_logs"] == flow_log
    assert len(left["ec2 volumes"]) == len(left["ec2 enis"]) == len(left["ec2 key_pairs"]) == 1
    assert left["iam roles"] and left["sns topics"] == [topic] and left["log groups"] == ["left"]

    api.ec2.delete_flow_logs(FlowLogIds=flow_log)
    logs.delete_log_group(logGroupName="left")
    sns.delete_topic(TopicArn=topic)
    iam.detach_role_policy(RoleName="left", PolicyArn=managed)
    iam.delete_role(RoleName="left")
    api.ec2.delete_key_pair(KeyName="left")
    api.ec2.release_address(AllocationId=address)
    api.ec2.terminate_instances(InstanceIds=[instance])
    api.ec2.delete_security_group(GroupId=group)
    api.ec2.delete_subnet(SubnetId=network.subnet)
    api.ec2.delete_vpc(VpcId=network.vpc)
    assert model.objects() == before


def test_alarms_are_seen_as_they_are_now_though_nobody_has_asked(api: Api) -> None:
    cloudwatch = api.client("cloudwatch")
    assert model.alarms() == []
    cloudwatch.put_metric_alarm(
        AlarmName="silent",
        Namespace="antmedia",
        MetricName="DatabaseUp",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=2,
        Threshold=1,
        ComparisonOperator="LessThanThreshold",
        TreatMissingData="breaching",
    )
    (alarm,) = model.alarms()
    assert (alarm.name, alarm.state) == ("silent", "ALARM")
    assert alarm.reason == "Maximum of the last periods, newest first: none, none, none, none"
    cloudwatch.delete_alarms(AlarmNames=["silent"])


def test_the_images_are_those_the_lab_has(api: Api) -> None:
    found = {image["ImageId"]: image for image in api.ec2.describe_images()["Images"]}
    assert {id_: (image["Name"], image["OwnerId"], image["RootDeviceName"]) for id_, image in found.items()} == {
        "ami-0ccc0000000001302": ("debian-13-amd64-20261101-2500", "136693071363", "/dev/xvda"),
        "ami-0ccc0000000001303": ("debian-13-three-keys", "136693071363", "/dev/xvda"),
        "ami-0ddd0000000000001": ("antmedia-lab-media-20261101", ACCOUNT, "/dev/sda1"),
        "ami-0ddd0000000000003": ("antmedia-lab-media-20261126", ACCOUNT, "/dev/sda1"),
        "ami-0ddd0000000000002": ("antmedia-lab-media-ams-20261101", ACCOUNT, "/dev/sda1"),
    }
