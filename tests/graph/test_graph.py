"""The whole resource graph, as a recording mock sees it registered."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import runpy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from cluster import firewall, haproxy, keys, monitoring
from cluster.plan import plan
from cluster.settings import load
from tests.unit.cluster.certificates import provide
from tests.unit.cluster.conftest import NOW

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "correct-horse-battery"
ADMINISTRATOR = "battery-horse-correct"
DATABASE = "horse-battery-correct"
PRIVATE_KEY = keys.new_private_key()
HOST_KEY = keys.new_private_key()


ON_NODE = ("ready", "server", "joined")
ON_BALANCER = ("forget", "drain", "serve")
"""What is done for every node of a cluster, and where."""

SECRET_GROUPS = ["antmedia:ssh", "antmedia:stats", "antmedia:administrator", "antmedia:databaseLogin"]


def configuration(**replaced: Any) -> dict[str, Any]:
    return {
        "domain": "live.example.com",
        "adminCidrs": ["203.0.113.7/32"],
        "media": {"ami": "ami-0123456789abcdef0"},
        "ssh": {"privateKey": PRIVATE_KEY, "hostKey": HOST_KEY},
        "stats": {"password": PASSWORD},
        "administrator": {"password": ADMINISTRATOR},
        "databaseLogin": {"password": DATABASE},
        **replaced,
    }


@dataclass
class Graph(pulumi.runtime.Mocks):
    """Keeps every registration; what a provider would compute is the resource's name."""

    resources: list[pulumi.runtime.MockResourceArgs] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    zones: str = "abcdef"
    credentials: bool = True
    partition: str = "aws"
    present: list[str] = field(default_factory=list)
    """The private addresses of the hosts that exist."""
    images_asked_for: list[Any] = field(default_factory=list)

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.resources.append(args)
        computed = {"arn": f"arn:{args.name}"} if args.typ.startswith("aws:") else {}
        if args.typ in ("aws:ec2/eip:Eip", "aws:ec2/instance:Instance"):
            computed |= {"publicIp": "198.51.100.1", "allocationId": f"{args.name}-allocation"}
        if args.typ == "aws:ec2/vpc:Vpc":
            computed |= {"ownerId": "123456789012"}
        if "name" not in args.inputs and args.typ.startswith("aws:iam"):
            computed |= {"name": args.name}
        return f"{args.name}-id", {**computed, **args.inputs}

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        match args.token:
            case "aws:index/getAvailabilityZones:getAvailabilityZones":
                if not self.credentials:
                    return {}, [("", "No valid credential sources found")]
                return {"names": [f"us-east-1{letter}" for letter in self.zones]}, []
            case "aws:ec2/getInstances:getInstances":
                return {"id": "found", "ids": [], "privateIps": self.present, "publicIps": []}, []
            case "aws:index/getRegion:getRegion":
                return {"region": "us-east-1"}, []
            case "aws:index/getPartition:getPartition":
                return {"partition": self.partition}, []
            case "aws:route53/getZone:getZone":
                return {"zoneId": f"zone-of-{args.args['name']}"}, []
            case "aws:ec2/getAmi:getAmi":
                self.images_asked_for.append((args.args["owners"], args.args["filters"]))
                return {"id": "ami-0aaaaaaaaaaaaaaaa"}, []
        raise AssertionError(f"an unexpected call: {args.token}")

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Inputs by name of every resource whose type ends so."""
        return {r.name: r.inputs for r in self.resources if r.typ.endswith(f":{kind}")}


@pytest.fixture(autouse=True)
def _event_loop() -> Iterator[None]:
    """Pulumi's runtime asks for the thread's event loop, which a test before that ran one of its own has taken away."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Graph]]:
    """Runs __main__.py with a configuration and returns the graph; raises what the program raises."""
    monkeypatch.setenv("PULUMI_ERROR_OUTPUT_STRING", "1")

    def run(values: dict[str, Any], graph: Graph | None = None) -> Graph:
        graph = graph or Graph()
        pulumi.runtime.set_mocks(graph, project="antmedia", stack="test", preview=False)
        config = {f"antmedia:{k}": v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
        pulumi.runtime.set_all_config(config, SECRET_GROUPS)
        monkeypatch.setattr(pulumi, "export", lambda name, value: graph.outputs.__setitem__(name, value))

        @pulumi.runtime.test  # type: ignore[untyped-decorator]
        def program() -> pulumi.Output[Any]:
            runpy.run_path(str(CHECKOUT / "__main__.py"))

            def keep(values: dict[str, Any]) -> None:
                graph.outputs = values

            return pulumi.Output.all(**graph.outputs).apply(keep)

        program()
        return graph

    yield run


def test_every_rule_of_the_firewall_table_becomes_one_resource(deploy: Callable[..., Graph]) -> None:
    values = configuration(adminCidrs=["203.0.113.7/32", "198.51.100.0/24"])
    graph = deploy(values)
    wanted = {rule.key for rule in firewall.rules(plan(load(values, now=NOW), project="antmedia", stack="test"))}
    assert set(graph.of("SecurityGroupIngressRule")) | set(graph.of("SecurityGroupEgressRule")) == wanted


def test_only_ports_of_the_table_are_open_to_the_world(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration())
    world = {
        (rule["ipProtocol"], rule["fromPort"], rule["toPort"])
        for rule in graph.of("SecurityGroupIngressRule").values()
        if rule.get("cidrIpv4") == "0.0.0.0/0"
    }
    assert world == {("tcp", p, p) for p in (80, 443, 1935, 1936, 5080, 5443)} | {("udp", 50000, 60000)}


def test_the_default_security_group_is_closed(deploy: Callable[..., Graph]) -> None:
    (group,) = deploy(configuration()).of("DefaultSecurityGroup").values()
    assert not group.get("ingress")
    assert not group.get("egress")


def test_the_vpc_has_a_flow_log_of_all_traffic_kept_for_as_long_as_the_stack_says(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration(network={"flowLogDays": 30}))
    (log,), (group,) = graph.of("FlowLog").values(), graph.of("LogGroup").values()
    assert (log["vpcId"], log["trafficType"]) == ("vpc-id", "ALL")
    assert (log["logDestination"], log["iamRoleArn"]) == ("arn:flow-log", "arn:flow-log")
    assert (group["name"], group["retentionInDays"]) == ("/antmedia/test/flow-log", 30)
    assert deploy(configuration()).of("LogGroup")["flow-log"]["retentionInDays"] == 365


def test_flow_logs_are_written_by_their_service_alone_into_their_group_alone(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration())
    (trust,) = json.loads(graph.of("Role")["flow-log"]["assumeRolePolicy"])["Statement"]
    assert trust["Principal"] == {"Service": "vpc-flow-logs.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    (allowed,) = json.loads(graph.of("RolePolicy")["flow-log"]["policy"])["Statement"]
    assert allowed["Resource"] == ["arn:flow-log", "arn:flow-log:*"]
    assert "logs:CreateLogGroup" not in allowed["Action"], "the group would come back after destroy"


def test_a_stack_without_flow_logs_has_nothing_of_them(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration(network={"flowLogDays": False}))
    assert not graph.of("FlowLog")
    assert not graph.of("LogGroup")
    assert "flow-log" not in {**graph.of("Role"), **graph.of("RolePolicy")}


def test_every_host_is_at_its_planned_address_with_imdsv2_and_an_encrypted_volume(deploy: Callable[..., Graph]) -> None:
    values = configuration()
    hosts = deploy(values).of("Instance")
    nodes = {node.name: node for node in plan(load(values, now=NOW), project="antmedia", stack="test").nodes}
    assert set(hosts) == set(nodes) == {"lb-1", "origin-1", "edge-1", "db-1"}
    for name, host in hosts.items():
        assert host["privateIp"] == str(nodes[name].address)
        assert host["subnetId"] == f"{nodes[name].zone.name}-id"
        assert host["metadataOptions"]["httpTokens"] == "required"
        assert host["metadataOptions"]["httpPutResponseHopLimit"] == 1
        assert host["rootBlockDevice"]["encrypted"] is True


def test_images_are_asked_for_by_their_exact_name_of_their_publisher(deploy: Callable[..., Graph]) -> None:
    name = "AntMedia-AWS-Marketplace-EE-2.16.2-4wh7rhpic3wfw"
    graph = deploy(configuration(media={"ami": name}))
    assert {(owners[0], filters[0]["values"][0]) for owners, filters in graph.images_asked_for} == {
        ("136693071363", "debian-13-amd64-20251117-2299"),
        ("679593333241", name),
    }


def test_user_data_lets_only_the_deployment_key_in_and_pins_the_host_key(deploy: Callable[..., Graph]) -> None:
    user_data = deploy(configuration()).of("Instance")["lb-1"]["userData"]
    text = pulumi.runtime.rpc.unwrap_rpc_secret(user_data)
    first, body = text.split("\n", 1)
    assert first == "#cloud-config"
    config = json.loads(body)
    assert config["users"][0]["ssh_authorized_keys"] == [keys.public_key(PRIVATE_KEY)]
    assert config["ssh_keys"]["ed25519_private"] == HOST_KEY
    assert config["ssh_pwauth"] is False


def test_every_taggable_resource_says_whose_it_is(deploy: Callable[..., Graph]) -> None:
    without = {"Route", "RouteTableAssociation", "EipAssociation", "RolePolicy", "VolumeAttachment"}
    without |= {"Dashboard", "TopicSubscription"}
    for resource in deploy(configuration(alarms={"email": "ops@example.com"})).resources:
        if resource.typ.startswith("aws:") and resource.typ.rsplit(":", 1)[1] not in without:
            tags = resource.inputs["tags"]
            assert tags["Project"] == "antmedia", resource.name
            assert set(tags) == {"Name", "Project", "Stack", "Role", "Node", "ManagedBy"}, resource.name


def test_one_more_node_is_at_most_eight_more_resources(deploy: Callable[..., Graph]) -> None:
    media = {"ami": "ami-0123456789abcdef0", "edges": {"count": 2}}
    two, three = deploy(configuration()), deploy(configuration(media=media))
    new = {(r.typ, r.name) for r in three.resources} - {(r.typ, r.name) for r in two.resources}
    assert new == {
        ("aws:ec2/instance:Instance", "edge-2"),
        ("antmedia:host:RemoteHost", "edge-2"),
        *(("command:remote:Command", f"edge-2-{step}") for step in ON_NODE),
        *(("command:remote:Command", f"edge-2-{step}") for step in ON_BALANCER),
    }
    assert len(new) == 8


def test_resource_names_are_unique_by_type(deploy: Callable[..., Graph]) -> None:
    names = Counter((r.typ, r.name) for r in deploy(configuration()).resources)
    assert [key for key, count in names.items() if count > 1] == []


def test_a_cluster_over_three_zones_has_a_subnet_in_each(deploy: Callable[..., Graph]) -> None:
    subnets = deploy(configuration(network={"zones": 3})).of("Subnet")
    assert {name: (s["cidrBlock"], s["availabilityZone"]) for name, s in subnets.items()} == {
        "zone-1": ("172.30.0.0/24", "us-east-1a"),
        "zone-2": ("172.30.1.0/24", "us-east-1b"),
        "zone-3": ("172.30.2.0/24", "us-east-1c"),
    }


def test_the_steps_on_the_load_balancer_are_pinned_to_its_host_key(deploy: Callable[..., Graph]) -> None:
    steps = {name: step for name, step in deploy(configuration()).of("Command").items() if name.startswith("lb-1")}
    names = ("ready", "install", "certificate", "stats-login", "configure", "certbot", "verify", "metrics")
    assert list(steps) == [f"lb-1-{name}" for name in names]
    for name, step in steps.items():
        connection = pulumi.runtime.rpc.unwrap_rpc_secret(step["connection"])
        assert connection["hostKey"] == keys.public_key(HOST_KEY), name
        assert step["triggers"][0] == "lb-1-id", name


def test_other_hosts_are_reached_through_the_load_balancer_and_pinned_like_it(deploy: Callable[..., Graph]) -> None:
    nodes = plan(load(configuration(), now=NOW), project="antmedia", stack="test").media
    steps = deploy(configuration()).of("Command")
    for node in nodes:
        for name in (f"{node.name}-{step}" for step in ON_NODE):
            step = steps[name]
            connection = pulumi.runtime.rpc.unwrap_rpc_secret(step["connection"])
            assert connection["host"] == str(node.address)
            assert connection["proxy"]["host"] == "198.51.100.1"
            assert connection["hostKey"] == connection["proxy"]["hostKey"] == keys.public_key(HOST_KEY), name
            assert step["triggers"] == [f"{node.name}-id"], name


def test_what_the_load_balancer_does_for_a_node_is_done_on_its_host(deploy: Callable[..., Graph]) -> None:
    commands = deploy(configuration()).of("Command")
    for name in (f"{node}-{step}" for node in ("origin-1", "edge-1") for step in ON_BALANCER):
        connection = pulumi.runtime.rpc.unwrap_rpc_secret(commands[name]["connection"])
        assert (connection["host"], connection.get("proxy")) == ("198.51.100.1", None), name
    drain, serve, forget = (commands[f"edge-1-{step}"] for step in ("drain", "serve", "forget"))
    assert not drain.get("create") and not forget.get("create"), "they are for the node's end"
    assert drain["delete"] == forget["delete"] == serve["create"]
    assert serve["update"] == "true", "a changed script puts no node back that somebody has taken out"
    assert pulumi.runtime.rpc.unwrap_rpc_secret(drain["triggers"])[0] == "edge-1-id"
    assert serve["triggers"] == ["edge-1-drain-id"], "what is drained has to be proven again"


def test_secrets_reach_hosts_by_standard_input_or_marked_as_secret_only(deploy: Callable[..., Graph]) -> None:
    seen = 0
    for resource in deploy(configuration()).resources:
        for key, value in resource.inputs.items():
            if pulumi.runtime.rpc.is_rpc_secret(value):
                if key == "triggers":
                    assert resource.name.endswith("-drain"), "a digest of the database's URI and the licence key"
                    continue
                assert key in ("stdin", "userData", "connection"), f"{resource.name}.{key}"
                seen += 1
                continue
            text = json.dumps(value, default=str)
            for secret in (PASSWORD, ADMINISTRATOR, DATABASE, "OPENSSH PRIVATE KEY"):
                assert secret not in text, f"{resource.name}.{key}"
    steps = {"lb-1": 8, "db-1": 9, "origin-1": 7, "edge-1": 6}
    secret_texts = {"lb-1": 2, "db-1": 2, "origin-1": 4, "edge-1": 3}
    assert seen == len(steps) + sum(steps.values()) + sum(secret_texts.values()), "user data, connections, texts"


def test_outputs_say_where_everything_is(deploy: Callable[..., Graph]) -> None:
    outputs = deploy(configuration()).outputs
    assert outputs["url"] == "https://live.example.com"
    assert outputs["rtmpUrl"] == "rtmp://live.example.com/LiveApp"
    assert outputs["hlsUrl"] == "https://live.example.com/LiveApp/streams"
    assert outputs["webSocketUrl"] == "wss://live.example.com/LiveApp/websocket"
    assert outputs["statsUrl"] == "https://live.example.com:6080/haproxy_stats"
    assert outputs["loadBalancerAddress"] == "198.51.100.1"
    assert outputs["dnsRecordToSet"] == ["live.example.com A 198.51.100.1"]
    assert outputs["certificate"] == {"mode": "letsencrypt", "names": ["live.example.com"]}
    assert outputs["dashboardUrl"].startswith(
        "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#"
    )
    assert set(outputs["nodes"]) == {"lb-1", "origin-1", "edge-1", "db-1"}
    assert outputs["readme"].startswith("# https://live.example.com\n")
    assert "${" not in outputs["readme"]
    assert PASSWORD not in json.dumps(outputs)
    assert ADMINISTRATOR not in json.dumps(outputs)
    assert DATABASE not in json.dumps(outputs)


def test_without_a_domain_the_address_serves(deploy: Callable[..., Graph]) -> None:
    values = configuration(tls={"mode": "self-signed"})
    del values["domain"]
    outputs = deploy(values).outputs
    assert outputs["url"] == "https://198.51.100.1"
    assert outputs["certificate"] == {"mode": "self-signed", "names": ["198.51.100.1"]}
    assert outputs.get("dnsRecordToSet") is None


def test_the_community_edition_is_one_media_node(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration(media={"ami": "ami-0123456789abcdef0", "edition": "community"}))
    assert set(graph.of("Instance")) == {"lb-1", "origin-1"}
    assert set(graph.of("SecurityGroup")) == {"lb", "media"}
    assert not graph.of("Volume")


def test_bad_settings_register_nothing(deploy: Callable[..., Graph]) -> None:
    graph = Graph()
    with pytest.raises(pulumi.RunError, match=r"antmedia:network\.zones") as caught:
        deploy(configuration(network={"zones": 0}, adminCidrs=["0.0.0.0/0"]), graph)
    assert "antmedia:adminCidrs[0]" in str(caught.value)
    assert graph.resources == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"stats_port": 443}, "two listeners on port 443"), ({"default_pool": "nowhere"}, "leads to the pool nowhere")],
)
def test_a_load_balancer_that_cannot_be_registers_nothing(
    deploy: Callable[..., Graph], monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], said: str
) -> None:
    right = haproxy.load_balancer
    monkeypatch.setattr(haproxy, "load_balancer", lambda plan: dataclasses.replace(right(plan), **wrong))
    graph = Graph()
    with pytest.raises(ValueError, match=said):
        deploy(configuration(), graph)
    assert graph.resources == []


def test_without_credentials_one_sentence_says_what_to_check_and_nothing_is_registered(
    deploy: Callable[..., Graph],
) -> None:
    graph = Graph(credentials=False)
    with pytest.raises(pulumi.RunError, match="Check that credentials are in the environment") as caught:
        deploy(configuration(), graph)
    assert "No valid credential sources found" in str(caught.value)
    assert graph.resources == []


def test_more_zones_than_the_region_has_are_refused(deploy: Callable[..., Graph]) -> None:
    graph = Graph(zones="bac")
    with pytest.raises(pulumi.RunError, match=r"network\.zones is 4, but the region has 3 \(us-east-1a, us-east-1b"):
        deploy(configuration(network={"zones": 4}), graph)
    assert graph.resources == []


NAMES = {
    "dns": {"zone": "example.com"},
    "tls": {"extraNames": ["www.example.com"]},
    "loadBalancer": {"publishName": "publish.example.com", "playName": "play.example.com"},
}


def test_with_a_zone_every_name_gets_a_record_and_none_is_left_to_set(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration(**NAMES))
    records = graph.of("Record")
    assert set(records) == {"live.example.com", "www.example.com", "publish.example.com", "play.example.com"}
    for name, record in records.items():
        assert (record["name"], record["type"], record["records"]) == (name, "A", ["198.51.100.1"])
        assert record["zoneId"] == "zone-of-example.com"
    assert graph.outputs.get("dnsRecordToSet") is None


def test_without_a_zone_the_program_touches_no_name_and_says_what_to_set(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration(**{**NAMES, "dns": {}}))
    assert not graph.of("Record")
    assert len(graph.outputs["dnsRecordToSet"]) == 4
    assert "play.example.com A 198.51.100.1" in graph.outputs["dnsRecordToSet"]


def test_only_the_load_balancer_may_read_the_certificates_store_and_nothing_else(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration())
    policies = graph.of("RolePolicy")
    assert policies["certificate"]["role"] == "load-balancer-id"
    assert json.loads(policies["certificate"]["policy"])["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"],
            "Resource": "arn:certificate",
        }
    ]
    assert [name for name, policy in policies.items() if "secretsmanager" in policy["policy"]] == ["certificate"]
    profiles = {name: host.get("iamInstanceProfile") for name, host in graph.of("Instance").items()}
    assert profiles == {"lb-1": "load-balancer", "db-1": "database", "origin-1": None, "edge-1": None}


@pytest.mark.parametrize("mode", ["self-signed", "none"])
def test_without_an_authority_there_is_no_store_and_no_certbot(deploy: Callable[..., Graph], mode: str) -> None:
    graph = deploy(configuration(tls={"mode": mode}, alarms=False))
    assert not graph.of("Secret")
    assert set(graph.of("Role")) == {"flow-log"}
    assert "lb-1-certbot" not in graph.of("Command")


def test_a_provided_certificate_reaches_the_host_as_a_secret(deploy: Callable[..., Graph]) -> None:
    made = provide(["live.example.com"])
    graph = deploy(configuration(tls={"mode": "provided", "chain": made.chain, "key": made.key}))
    text = graph.of("Command")["lb-1-certificate"]["stdin"]
    assert pulumi.runtime.rpc.is_rpc_secret(text)
    assert made.chain in pulumi.runtime.rpc.unwrap_rpc_secret(text)
    assert "lb-1-certbot" not in graph.of("Command")


def test_the_database_has_an_encrypted_volume_of_its_own_beside_its_host(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration(database={"volumeGb": 50}))
    (volume,) = graph.of("Volume").values()
    assert (volume["encrypted"], volume["type"], volume["size"]) == (True, "gp3", 50)
    assert volume["availabilityZone"] == "us-east-1a"
    (attachment,) = graph.of("VolumeAttachment").values()
    assert (attachment["volumeId"], attachment["instanceId"]) == ("database-id", "db-1-id")
    assert attachment["stopInstanceBeforeDetaching"] is True


@pytest.mark.parametrize(
    ("database", "protected", "snapshot"),
    [
        ({}, True, False),
        ({"onDestroy": "refuse"}, True, False),
        ({"onDestroy": "snapshot"}, False, True),
        ({"onDestroy": "delete"}, False, False),
    ],
)
def test_what_becomes_of_the_data_is_decided_by_one_setting(
    deploy: Callable[..., Graph],
    monkeypatch: pytest.MonkeyPatch,
    database: dict[str, str],
    protected: bool,
    snapshot: bool,
) -> None:
    volumes: list[pulumi.ResourceOptions] = []
    make = aws.ebs.Volume.__init__

    def remember(self: Any, *args: Any, **named: Any) -> None:
        volumes.append(named["opts"])
        make(self, *args, **named)

    monkeypatch.setattr(aws.ebs.Volume, "__init__", remember)
    graph = deploy(configuration(database=database))
    assert [opts.protect for opts in volumes] == [protected]
    assert graph.of("Volume")["database"]["finalSnapshot"] is snapshot


def test_the_database_is_reached_through_the_load_balancer_and_both_are_pinned(deploy: Callable[..., Graph]) -> None:
    steps = {name: step for name, step in deploy(configuration()).of("Command").items() if name.startswith("db-1-")}
    names = ("ready", "volume", "install", "configure", "accounts", "backup", "verify", "retire", "metrics")
    assert list(steps) == [f"db-1-{name}" for name in names]
    for name, step in steps.items():
        connection = pulumi.runtime.rpc.unwrap_rpc_secret(step["connection"])
        assert connection["host"] == "172.30.0.20", name
        assert connection["hostKey"] == connection["proxy"]["hostKey"] == keys.public_key(HOST_KEY), name
        assert connection["proxy"]["host"] == "198.51.100.1", name
        assert step["triggers"][0] == "db-1-id", name
    assert DATABASE in pulumi.runtime.rpc.unwrap_rpc_secret(steps["db-1-accounts"]["stdin"])
    assert "database-id\n" in steps["db-1-volume"]["stdin"]


def test_only_the_database_may_read_and_write_its_backups_and_nothing_beside_them(deploy: Callable[..., Graph]) -> None:
    graph = deploy(
        configuration(database={"backup": {"bucket": "my-backups"}}, tls={"mode": "self-signed"}, alarms=False)
    )
    policy = graph.of("RolePolicy")["backup"]
    assert json.loads(policy["policy"])["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject"],
            "Resource": "arn:aws:s3:::my-backups/antmedia/test/*",
        },
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::my-backups",
            "Condition": {"StringLike": {"s3:prefix": "antmedia/test/*"}},
        },
    ]
    assert {name for name, host in graph.of("Instance").items() if host.get("iamInstanceProfile")} == {"db-1"}
    assert "bucket=my-backups\n" in graph.of("Command")["db-1-backup"]["stdin"]


def test_an_external_database_makes_no_host(deploy: Callable[..., Graph]) -> None:
    login = {"uri": "mongodb://a:horse-battery-correct@db.example.com:27018/"}
    graph = deploy(configuration(database={"mode": "external"}, databaseLogin=login))
    assert "db-1" not in graph.of("Instance")
    assert not graph.of("Volume")
    assert graph.of("SecurityGroupEgressRule")["media-to-external-db-27018"]["fromPort"] == 27018


def test_every_alarm_of_the_table_becomes_one_and_sees_its_instance(deploy: Callable[..., Graph]) -> None:
    values = configuration()
    alarms = deploy(values).of("MetricAlarm")
    wanted = list(monitoring.alarms(plan(load(values, now=NOW), project="antmedia", stack="test")))
    assert sorted(alarms) == sorted(alarm.key for alarm in wanted)
    system = alarms["db-1-system"]
    assert system["name"] == "antmedia-test-db-1-system"
    assert (system["namespace"], system["dimensions"]) == ("AWS/EC2", {"InstanceId": "db-1-id"})
    assert system["alarmActions"] == ["arn:aws:automate:us-east-1:ec2:recover"]
    assert alarms["lb-1-instance"]["alarmActions"] == ["arn:aws:automate:us-east-1:ec2:reboot"]
    assert alarms["database-down"]["dimensions"] == {"Stack": "test"}
    assert alarms["no-healthy-edge"]["dimensions"] == {"Stack": "test", "Role": "edge"}


def test_actions_are_of_the_partition_that_the_account_is_in(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration(), Graph(partition="aws-us-gov"))
    assert graph.of("MetricAlarm")["lb-1-system"]["alarmActions"] == ["arn:aws-us-gov:automate:us-east-1:ec2:recover"]
    assert ".console.amazonaws-us-gov.com/" in graph.outputs["dashboardUrl"]


def test_without_an_address_there_is_no_topic_and_nobody_is_told(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration())
    assert not graph.of("Topic")
    assert not graph.of("TopicSubscription")
    assert not [name for name, alarm in graph.of("MetricAlarm").items() if alarm.get("okActions")]
    assert graph.of("Dashboard"), "what is wrong can be seen"


def test_with_an_address_every_alarm_tells_it_twice(deploy: Callable[..., Graph]) -> None:
    """When something begins, and when it ends."""
    graph = deploy(configuration(alarms={"email": "ops@example.com"}))
    (subscription,) = graph.of("TopicSubscription").values()
    assert (subscription["protocol"], subscription["endpoint"]) == ("email", "ops@example.com")
    assert subscription["topic"] == "arn:alarms"
    for name, alarm in graph.of("MetricAlarm").items():
        assert alarm["alarmActions"][-1:] == alarm["okActions"] == ["arn:alarms"], name


def test_hosts_may_publish_in_their_own_namespace_only(deploy: Callable[..., Graph]) -> None:
    policies = deploy(configuration()).of("RolePolicy")
    for name, role in (("load-balancer-metrics", "load-balancer-id"), ("database-metrics", "database-id")):
        assert policies[name]["role"] == role
        assert json.loads(policies[name]["policy"])["Statement"] == [
            {
                "Effect": "Allow",
                "Action": "cloudwatch:PutMetricData",
                "Resource": "*",
                "Condition": {"StringEquals": {"cloudwatch:namespace": "antmedia"}},
            }
        ]


def test_the_dashboard_shows_every_node_and_every_alarm(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration())
    (dashboard,) = graph.of("Dashboard").values()
    shown = json.loads(dashboard["dashboardBody"])["widgets"]
    # The engine is told of them in any order.
    assert sorted(shown[0]["properties"]["alarms"]) == sorted(f"arn:{name}" for name in graph.of("MetricAlarm"))
    cpu = next(widget for widget in shown if widget["properties"]["title"] == "CPU, %")
    instances = [f"{name}-id" for name in ("lb-1", "origin-1", "edge-1", "db-1")]
    assert [metric[3] for metric in cpu["properties"]["metrics"]] == instances


def test_where_nothing_is_to_be_watched_nothing_is_made_and_hosts_stop_publishing(deploy: Callable[..., Graph]) -> None:
    graph = deploy(configuration(alarms=False))
    for kind in ("MetricAlarm", "Dashboard", "Topic", "TopicSubscription"):
        assert not graph.of(kind), kind
    assert set(graph.of("RolePolicy")) == {"certificate", "flow-log"}
    assert graph.outputs.get("dashboardUrl") is None
    for host in ("lb-1", "db-1"):
        script = graph.of("Command")[f"{host}-metrics"]["stdin"]
        assert "systemctl disable" in script
        assert "PutMetricData" not in script


def test_recovery_on_other_hardware_is_left_on_for_every_host(deploy: Callable[..., Graph]) -> None:
    for name, host in deploy(configuration()).of("Instance").items():
        assert host["maintenanceOptions"] == {"autoRecovery": "default"}, name
