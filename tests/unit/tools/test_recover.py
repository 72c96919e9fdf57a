"""What is known of an interrupted update before anything is asked of a real engine."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.patience import PATIENCE
from tools import recover, repair
from tools.recovery import kinds, leftovers, locks, plugins
from tools.recovery.account import Account
from tools.recovery.locks import Lock
from tools.recovery.stack import RecoveryError, Stack, State

CHECKOUT = Path(__file__).resolve().parents[3]
HERE = socket.gethostname()
TAGS = {"Project": "antmedia", "Stack": "s", "ManagedBy": "pulumi"}


# ---- locks


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is called pulumi."""
    program = tmp_path / "pulumi"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        wait_for_name(process.pid)
        yield process
        process.kill()


def wait_for_name(pid: int) -> None:
    """The kernel tells a program's name some time after it has begun."""
    while not Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.01)


def test_a_lock_is_held_while_its_process_lives(cli: subprocess.Popen[bytes]) -> None:
    lock = Lock(HERE, "me", cli.pid, datetime.now(UTC))
    assert lock.is_held
    cli.kill()
    cli.wait()
    assert not lock.is_held


def test_a_process_that_was_killed_and_not_yet_asked_about_holds_nothing(cli: subprocess.Popen[bytes]) -> None:
    lock = Lock(HERE, "me", cli.pid, datetime.now(UTC))
    os.kill(cli.pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while lock.is_held and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lock.is_held


def test_a_process_that_was_given_the_dead_ones_number_holds_nothing(cli: subprocess.Popen[bytes]) -> None:
    assert not Lock(HERE, "me", cli.pid, datetime.now(UTC) - timedelta(hours=1)).is_held, "a younger pulumi"
    assert not Lock(HERE, "me", os.getpid(), datetime.now(UTC)).is_held, "another program"


def test_a_lock_of_another_machine_is_neither_held_here_nor_ours_to_judge(cli: subprocess.Popen[bytes]) -> None:
    lock = Lock("elsewhere", "you", cli.pid, datetime.now(UTC))
    assert not lock.is_held
    assert not lock.is_of_this_machine


def test_a_damaged_lock_is_nobodys_of_this_machine() -> None:
    assert not locks.parse("").is_of_this_machine
    assert not locks.parse("[]").is_of_this_machine


LOCK = json.dumps({"pid": 7, "username": "u", "hostname": "h", "timestamp": "2026-01-02T03:04:05.678901234+00:00"})


def no_ls() -> str:
    raise AssertionError("asked")


def find(backend: str, shown: str = "") -> list[Lock]:
    return locks.find(
        backend,
        "antmedia",
        "s",
        shown=lambda: shown or no_ls(),
        s3=lambda: boto3.client("s3", region_name="us-east-1"),
    )


def test_locks_of_a_backend_of_files_are_found_for_this_stack_only(tmp_path: Path) -> None:
    for stack in ("s", "t"):
        folder = tmp_path / ".pulumi/locks/organization/antmedia" / stack
        folder.mkdir(parents=True)
        (folder / "x.json").write_text(LOCK)
        (folder / "x.json.attrs").write_text("{}")
    expected = Lock("h", "u", 7, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert find(f"file://{tmp_path}") == [expected]
    assert str(expected) == "u@h, process 7, since 2026-01-02 03:04:05 UTC"


def test_a_backend_in_the_home_directory_is_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".pulumi/locks/organization/antmedia/s"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text(LOCK)
    assert [lock.pid for lock in find("file://~")] == [7]


@mock_aws
def test_locks_of_a_backend_in_s3_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="states")
    s3.put_object(Bucket="states", Key="team/.pulumi/locks/organization/antmedia/s/x.json", Body=LOCK.encode())
    assert [lock.host for lock in find("s3://states/team?region=us-east-1")] == ["h"]
    assert find("s3://states?region=us-east-1") == []


def test_pulumi_cloud_tells_only_that_an_update_is_under_way() -> None:
    listed = [{"name": "org/antmedia/s", "updateInProgress": True}, {"name": "t", "updateInProgress": True}]
    assert find("https://api.pulumi.com", json.dumps(listed)) == [Lock()]
    assert find("https://api.pulumi.com", json.dumps([{"name": "s", "updateInProgress": False}])) == []


def test_a_lock_that_cannot_be_judged_is_cleared_only_after_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(RecoveryError, match="ARGS=--yes"):
        recover.ask("Really?", yes=False)
    recover.ask("Really?", yes=True)


# ---- plugins


@pytest.mark.parametrize(("name", "found"), [("pulumi-resource-aws", True), ("pulumi-resource", False)])
def test_a_plugin_without_an_engine_is_found_and_ended(name: str, found: bool, tmp_path: Path) -> None:
    shutil.copy("/bin/sleep", tmp_path / name)
    environment = {"PULUMI_BACKEND_URL": "file:///here"}
    with subprocess.Popen([tmp_path / name, "60"], cwd=tmp_path, env=environment) as process:
        try:
            wait_for_name(process.pid)
            assert (process.pid in plugins.orphans(tmp_path, "file:///here")) is found
            assert not list(plugins.orphans(tmp_path, "file:///elsewhere"))
            assert not list(plugins.orphans(tmp_path / "other", "file:///here"))
            if found:
                plugins.end(process.pid)
                assert process.wait(1) == -signal.SIGTERM
                plugins.end(process.pid)
        finally:
            process.kill()


def test_a_plugin_of_a_living_engine_is_left_alone(tmp_path: Path) -> None:
    shutil.copy("/bin/sleep", tmp_path / "pulumi-resource-aws")
    shutil.copy("/bin/bash", tmp_path / "pulumi")
    script = f"{tmp_path}/pulumi-resource-aws 60 & echo $!; wait"
    with subprocess.Popen(
        [tmp_path / "pulumi", "-c", script], cwd=tmp_path, env={"PULUMI_BACKEND_URL": "x"}, stdout=subprocess.PIPE
    ) as engine:
        assert engine.stdout is not None
        plugin = int(engine.stdout.readline())
        try:
            assert not list(plugins.orphans(tmp_path, "x"))
        finally:
            os.kill(plugin, signal.SIGKILL)
            engine.kill()


# ---- state


def document(time: str = "2026-01-01T00:00:00Z", **deployment: Any) -> dict[str, Any]:
    return {"version": 3, "deployment": {"manifest": {"time": time}, **deployment}}


def creating(type_: str, name: str, /, **inputs: Any) -> dict[str, Any]:
    urn = f"urn:pulumi:s::antmedia::{type_}::{name}"
    return {"type": "creating", "resource": {"urn": urn, "type": type_, "inputs": inputs}}


def test_the_state_accounts_for_ids_root_volumes_and_routes() -> None:
    state = State(
        document(
            resources=[
                {"urn": "u1", "type": "pulumi:pulumi:Stack"},
                {
                    "urn": "u2",
                    "type": "aws:ec2/instance:Instance",
                    "id": "i-1",
                    "outputs": {"rootBlockDevice": {"volumeId": "vol-1"}, "arn": "arn:aws:ec2:r:123456789012:i/i-1"},
                },
                {
                    "urn": "u3",
                    "type": "aws:ec2/route:Route",
                    "id": "r-1",
                    "outputs": {"routeTableId": "rtb-1", "destinationCidrBlock": "0.0.0.0/0"},
                },
            ]
        )
    )
    assert {"i-1", "vol-1", "rtb-1 0.0.0.0/0"} <= state.known_ids
    assert state.account == "123456789012"
    assert State(document()).account is None
    assert State({"version": 3, "deployment": None}).operations == ()


def test_only_the_operations_are_taken_out_of_the_state() -> None:
    whole = document(resources=[{"urn": "u", "type": "t"}], pending_operations=[creating("aws:ec2/vpc:Vpc", "vpc")])
    state = State(whole)
    assert [str(each) for each in state.operations] == ["creating aws:ec2/vpc:Vpc vpc"]
    assert State(state.without_operations()).operations == ()
    assert state.without_operations()["deployment"]["resources"] == whole["deployment"]["resources"]
    assert state.operations, "the original is kept"


def test_a_state_says_when_it_was_written_in_the_zone_of_who_wrote_it() -> None:
    assert State(document("2026-01-01T01:30:00.123456789+01:00")).written == datetime(2026, 1, 1, 0, 30, 0, 123456, UTC)
    assert State({"version": 3, "deployment": None}).written is None


@pytest.mark.parametrize(
    ("stack", "command"),
    [("lab", "make up"), ("lab-ams", "make up STACK=lab-ams"), ("prod", "tools/pulumi up -s prod")],
)
def test_the_next_command_is_the_one_for_the_stack(stack: str, command: str) -> None:
    assert Stack(stack).next_command == command


# ---- AWS


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield boto3.client("ec2", region_name="us-east-1")


def specified(resource: str, node: str, **tags: str) -> list[Any]:
    all_tags = {**TAGS, "Node": node, **tags}
    return [{"ResourceType": resource, "Tags": [{"Key": key, "Value": value} for key, value in all_tags.items()]}]


def survey(ec2: Any, *operations: dict[str, Any], known: tuple[str, ...] = ()) -> leftovers.Leftovers:
    resources = [{"urn": f"u::{id_}", "type": "t", "id": id_} for id_ in known]
    state = State(document(resources=resources, pending_operations=list(operations)))
    return leftovers.survey(clients(ec2), state, "antmedia", "s")


def clients(ec2: Any) -> leftovers.Clients:
    return {"ec2": ec2, "route53": boto3.client("route53")}.__getitem__


def test_a_half_made_object_is_told_from_one_that_nothing_explains(ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=specified("vpc", "vpc"))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(
        VpcId=vpc, CidrBlock="10.0.0.0/24", TagSpecifications=specified("subnet", "zone-1")
    )["Subnet"]["SubnetId"]  # fmt: skip
    begun = creating("aws:ec2/subnet:Subnet", "zone-1", vpcId=vpc, tags={"Node": "zone-1"})
    found = survey(ec2, begun, known=(vpc,))
    assert [each.id for each in found.half_made] == [subnet]
    assert not found.unknown
    found = survey(ec2, known=(vpc,))
    assert not found.half_made
    assert [each.id for each in found.unknown] == [subnet]
    found = survey(ec2, known=(vpc, subnet))
    assert not found.unknown


def test_a_deployment_with_the_same_name_and_another_state_is_not_taken_for_half_made(ec2: Any) -> None:
    ours, theirs = (ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"] for _ in range(2))
    subnet = ec2.create_subnet(
        VpcId=theirs, CidrBlock="10.0.0.0/24", TagSpecifications=specified("subnet", "zone-1")
    )["Subnet"]["SubnetId"]  # fmt: skip
    host = ec2.run_instances(
        ImageId=ec2.describe_images()["Images"][0]["ImageId"], MinCount=1, MaxCount=1, SubnetId=subnet,
        TagSpecifications=specified("instance", "edge-1"),
    )["Instances"][0]["InstanceId"]  # fmt: skip
    found = survey(
        ec2,
        creating("aws:ec2/subnet:Subnet", "zone-1", vpcId=ours, tags={"Node": "zone-1"}),
        creating("aws:ec2/instance:Instance", "edge-1", subnetId="subnet-ours", tags={"Node": "edge-1"}),
    )
    assert not found.half_made
    assert [each.id for each in found.unknown] == [host, subnet], "asked about, in the order of deletion"


@pytest.mark.parametrize("tags", [{"Project": "other"}, {"Stack": "t"}, {"ManagedBy": "hand"}])
def test_objects_without_all_three_tags_are_not_seen(ec2: Any, tags: dict[str, str]) -> None:
    ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=specified("vpc", "vpc", **tags))
    found = survey(ec2, creating("aws:ec2/vpc:Vpc", "vpc", tags={"Node": "vpc"}))
    assert not [*found.half_made, *found.unknown]


def test_a_terminated_host_is_not_left_over(ec2: Any) -> None:
    host = ec2.run_instances(
        ImageId=ec2.describe_images()["Images"][0]["ImageId"], MinCount=1, MaxCount=1,
        TagSpecifications=specified("instance", "edge-1"),
    )["Instances"][0]["InstanceId"]  # fmt: skip
    assert [each.id for each in survey(ec2).unknown] == [host]
    ec2.terminate_instances(InstanceIds=[host])
    assert not survey(ec2).unknown


def test_routes_associations_and_untagged_rules_are_found_by_what_they_are(ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    operations = (
        creating("aws:ec2/route:Route", "internet", routeTableId=table, destinationCidrBlock="0.0.0.0/0"),
        creating("aws:ec2/routeTableAssociation:RouteTableAssociation", "z", routeTableId=table, subnetId=subnet),
        creating(
            "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "web",
            securityGroupId=group, ipProtocol="tcp", fromPort=80, toPort=80, cidrIpv4="0.0.0.0/0", tags={"Node": "web"},
        ),
        creating("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "default-closed", vpcId=vpc),
        creating("command:remote:Command", "lb-1-install"),
    )  # fmt: skip
    known = (vpc, subnet, gateway, table, group)
    assert not survey(ec2, *operations, known=known).half_made, "nothing was made yet"

    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"]
    for port in (80, 81):
        ec2.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[
                {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
            ],
        )
    found = survey(ec2, *operations, known=known)
    assert [each.kind.noun for each in found.half_made] == ["rule", "route", "route table association"]
    assert association in {each.id for each in found.half_made}
    assert all(was_there for _, was_there in leftovers.delete(clients(ec2), found.half_made))
    again = survey(ec2, *operations, known=known)
    assert not again.half_made
    left = [rule["FromPort"] for rule in rules(ec2, group) if not rule["IsEgress"]]
    assert left == [81], "another rule of the group is kept"
    assert not again.unsure


@pytest.mark.parametrize(("address", "ours"), [("198.51.100.4", True), ("198.51.100.5", False)])
def test_a_dns_record_is_ours_only_with_the_content_that_was_to_be_written(ec2: Any, address: str, ours: bool) -> None:
    route53 = boto3.client("route53")
    zone = route53.create_hosted_zone(Name="example.test", CallerReference="1")["HostedZone"]["Id"].split("/")[-1]
    operation = creating(
        "aws:route53/record:Record", "live", zoneId=zone, name="live.example.test", type="A", ttl=60,
        records=["198.51.100.4"],
    )  # fmt: skip
    assert not survey(ec2, operation).half_made
    records = {"Name": "live.example.test", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": address}]}
    change = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": records}]}
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)
    found = survey(ec2, operation)
    assert [each.kind.noun for each in found.half_made] == (["DNS record"] if ours else [])
    list(leftovers.delete(clients(ec2), found.half_made))
    left = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert ("A" in {each["Type"] for each in left}) is not ours


def rules(ec2: Any, group: str) -> list[Any]:
    filters = [{"Name": "group-id", "Values": [group]}]
    return list(ec2.describe_security_group_rules(Filters=filters)["SecurityGroupRules"])


def test_a_kind_that_cannot_be_looked_for_is_asked_about(ec2: Any) -> None:
    found = survey(ec2, creating("aws:sqs/queue:Queue", "alarms"))
    assert [each.name for each in found.unsure] == ["alarms"]


def test_a_free_volume_is_told_and_never_deleted(ec2: Any) -> None:
    volume = ec2.create_volume(
        Size=1, AvailabilityZone="us-east-1a", TagSpecifications=specified("volume", "db-1")
    )["VolumeId"]  # fmt: skip
    found = survey(ec2)
    assert found.volumes == [volume]
    assert not found.unknown


@pytest.mark.parametrize(
    ("minutes", "zone", "node", "half_made"),
    [
        (0, "us-east-1a", "database", True),
        (9, "us-east-1a", "database", True),
        (11, "us-east-1a", "database", False),
        (0, "us-east-1b", "database", False),
        (0, "us-east-1a", "recordings", False),
    ],
)
def test_a_free_volume_is_half_made_only_if_it_is_what_an_unfinished_creation_has_just_asked_for(
    ec2: Any, minutes: int, zone: str, node: str, half_made: bool
) -> None:
    made = ec2.create_volume(
        Size=8, AvailabilityZone="us-east-1a", TagSpecifications=specified("volume", "database")
    )  # fmt: skip
    written = made["CreateTime"] + timedelta(minutes=minutes)
    begun = creating("aws:ebs/volume:Volume", "database", availabilityZone=zone, size=8, tags={"Node": node})
    state = State(document(written.isoformat(), pending_operations=[begun]))
    found = leftovers.survey(clients(ec2), state, "antmedia", "s")
    assert [each.id for each in found.half_made] == [made["VolumeId"]] * half_made
    assert found.volumes == [made["VolumeId"]] * (not half_made)


def test_deleting_what_is_gone_is_no_error(ec2: Any) -> None:
    for kind in kinds.KINDS:
        assert kind.listing is None or not kinds.delete(ec2, kind, ABSENT[kind.listing[2]]), kind.noun


ABSENT = {
    "InstanceId": "i-0123456789abcdef0",
    "AllocationId": "eipalloc-0123456789abcdef0",
    "SecurityGroupRuleId": "sgr-0123456789abcdef0",
    "SubnetId": "subnet-0123456789abcdef0",
    "InternetGatewayId": "igw-0123456789abcdef0",
    "RouteTableId": "rtb-0123456789abcdef0",
    "GroupId": "sg-0123456789abcdef0",
    "VpcId": "vpc-0123456789abcdef0",
    "FlowLogId": "fl-0123456789abcdef0",
}


@mock_aws
def test_credentials_of_another_account_are_refused() -> None:
    account = Account({"accessKey": "test", "secretKey": "test", "region": "us-east-1"})
    account.require("123456789012")
    account.require(None)
    with pytest.raises(RecoveryError, match="but the stack's objects are in 210987654321"):
        account.require("210987654321")


def test_an_unknown_node_is_answered_with_those_that_there_are() -> None:
    node = {"urn": "u::edge-1", "type": "aws:ec2/instance:Instance", "id": "i-1"}
    old = {"urn": "u::edge-0", "type": "aws:ec2/instance:Instance", "id": "i-0", "delete": True}
    state = State(document(resources=[node, old]))
    assert repair.host(state, "edge-1", Stack("s"))["id"] == "i-1"
    with pytest.raises(RecoveryError, match=r"no node lb-1; its nodes are edge-1\."):
        repair.host(state, "lb-1", Stack("s"))
    with pytest.raises(RecoveryError, match=r"NODE=name; its nodes are edge-1\."):
        repair.host(state, "", Stack("s"))
    with pytest.raises(RecoveryError, match="has no hosts"):
        repair.host(State(document()), "lb-1", Stack("s"))


# ---- tools/pulumi


PENDING = json.dumps(document(pending_operations=[creating("aws:ec2/vpc:Vpc", "vpc")]))


@pytest.fixture
def pulumi(tmp_path: Path) -> Path:
    """A CLI that answers `stack export` with the file `state`, and otherwise does what the file `up` says."""
    program = tmp_path / "pulumi"
    program.write_text(
        "#!/bin/bash\ncd ${0%/*}\n"
        'case "$*" in "stack export"*) cat state;; *) echo "$*" >>ran; . ./up;; esac\n'
    )  # fmt: skip
    program.chmod(0o755)
    (tmp_path / "state").write_text(json.dumps(document()))
    (tmp_path / "up").write_text("true\n")
    return program


def supervise(pulumi: Path, **options: Any) -> subprocess.Popen[str]:
    code = (
        "import os, sys; from pathlib import Path; from tools import invocation as i\n"
        "from tools.provision.steps import ProvisionError\n"
        "words = ['up', '-s', 's']\n"
        "made = i.Invocation((sys.argv[1], *words), os.environ, Path.cwd())\n"
        "try: sys.exit(i.supervise(words, made))\n"
        "except ProvisionError as error: sys.exit(str(error))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, pulumi], cwd=CHECKOUT, text=True, stderr=subprocess.PIPE, **options
    )


def test_an_update_after_an_interrupted_one_is_not_begun(pulumi: Path) -> None:
    (pulumi.parent / "state").write_text(PENDING)
    process = supervise(pulumi)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1
    assert said.strip().endswith("make recover STACK=s")
    assert "creating vpc" in said
    assert not (pulumi.parent / "ran").exists()


def test_a_locked_stack_is_answered_with_the_command(pulumi: Path) -> None:
    (pulumi.parent / "up").write_text("echo 'error: the stack is currently locked by 1 lock(s)' >&2; exit 255\n")
    process = supervise(pulumi)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 255
    assert said.startswith("error: the stack is currently locked by 1 lock(s)\n")
    assert said.strip().endswith("make recover STACK=s")


def test_an_update_that_is_killed_says_what_to_do(pulumi: Path) -> None:
    (pulumi.parent / "up").write_text(f"cat >state <<'END'\n{PENDING}\nEND\nkill -9 $$\n")
    process = supervise(pulumi)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 128 + signal.SIGKILL
    assert said.strip().endswith("make recover STACK=s")


def test_an_update_that_fails_by_itself_says_nothing_more(pulumi: Path) -> None:
    (pulumi.parent / "up").write_text("echo 'error: no' >&2; exit 3\n")
    process = supervise(pulumi)
    assert process.communicate(timeout=PATIENCE)[1] == "error: no\n"
    assert process.returncode == 3


def test_a_program_that_holds_the_output_of_a_dead_update_keeps_nobody_waiting(pulumi: Path) -> None:
    (pulumi.parent / "up").write_text("sleep 1000 & echo $! >sleeping\n")
    process = supervise(pulumi)
    try:
        assert process.wait(PATIENCE) == 0
    finally:
        os.kill(int((pulumi.parent / "sleeping").read_text()), signal.SIGKILL)
        process.communicate()


def test_an_update_ended_with_ctrl_c_names_the_command(pulumi: Path) -> None:
    (pulumi.parent / "up").write_text("trap 'exit 255' INT\ntouch begun\nwhile :; do sleep 0.05; done\n")
    process = supervise(pulumi, start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    while not (pulumi.parent / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 255
    assert said.strip().endswith("make recover STACK=s")


def test_being_told_to_end_tells_the_update_to_end(pulumi: Path) -> None:
    (pulumi.parent / "up").write_text("trap 'touch ended; exit 7' TERM\ntouch begun\nwhile :; do sleep 0.05; done\n")
    process = supervise(pulumi)
    deadline = time.monotonic() + PATIENCE
    while not (pulumi.parent / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 7
    assert (pulumi.parent / "ended").exists()


def test_an_update_ends_in_order_when_what_started_it_is_killed(pulumi: Path) -> None:
    (pulumi.parent / "up").write_text("trap 'touch ended; exit 7' TERM\ntouch begun\nwhile :; do sleep 0.05; done\n")
    process = supervise(pulumi)
    deadline = time.monotonic() + PATIENCE
    while not (pulumi.parent / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    while not (pulumi.parent / "ended").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.communicate()


@pytest.mark.parametrize(
    ("name", "command"),
    [("lab-ams", "make up STACK=lab-ams"), ("lab", "make up"), ("mine", "make new-stack STACK=mine")],
)
def test_a_stack_that_is_not_there_is_answered_with_what_makes_it(
    monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    said = f"error: no stack named '{name}' found"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 255, "", said))
    with pytest.raises(RecoveryError, match=f"^There is no stack {name}. Next: {command}$"):
        Stack(name).export()
