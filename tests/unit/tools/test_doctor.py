"""What `make doctor` looks at, what it makes of what it sees, and how it talks to servers and to AWS."""

from __future__ import annotations

import copy
import io
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from cluster.plan import ClusterPlan, plan
from cluster.settings import DEBIAN_AMI, Settings, load
from tests.patience import PATIENCE
from tests.unit.cluster.certificates import provide
from tests.unit.cluster.conftest import NOW, VALID
from tests.unit.lab.patch_checks import Api, start
from tools.doctor import __main__ as command
from tools.doctor import account, network, outside
from tools.doctor.network import RTMP_PART, Answer
from tools.doctor.target import Endpoint, Target, target
from tools.doctor.verdicts import Check, Result, Verdict, exit_code, failed, not_looked_at, passed
from tools.recovery.account import Account
from tools.recovery.stack import Stack, State

ADDRESS = "198.51.100.4"
OUTPUTS: dict[str, Any] = {
    "loadBalancerAddress": ADDRESS,
    "nodes": {
        "lb-1": {"role": "lb", "publicAddress": ADDRESS},
        "origin-1": {"role": "origin", "publicAddress": "198.51.100.5"},
        "db-1": {"role": "db", "publicAddress": "198.51.100.6"},
        "edge-1": {"role": "edge", "publicAddress": ""},
    },
}


def made(**replaced: Any) -> ClusterPlan:
    return plan(load({**copy.deepcopy(VALID), **replaced}, now=NOW), project="antmedia", stack="mine")


def aim(**tls: Any) -> Target:
    settings = {"mode": "letsencrypt", "email": "ops@example.com", **tls} if tls.get("mode") != "none" else tls
    return target(made(tls=settings), OUTPUTS)


# ---- what there is to look at


def test_ports_are_those_of_the_firewall_table() -> None:
    at = aim()
    assert at.public_ports == (80, 443, 1935, 1936, 5080, 5443)
    assert at.admin_ports == (22, 6080)
    assert at.rtmp_ports == ((1935, False), (1936, True), (443, True), (5443, True))
    assert at.redirecting_ports == (80, 5080)
    assert aim(mode="none").redirecting_ports == ()
    assert aim(mode="none").rtmp_ports == ((1935, False),)


def test_what_is_closed_is_tried_on_every_host_that_has_a_public_address() -> None:
    tried = aim().closed
    assert {each.node for each in tried} == {"lb-1", "origin-1", "db-1"}
    assert Endpoint("db-1", "198.51.100.6", 27017) in tried
    assert {each.port for each in tried if each.node == "origin-1"} == {22, 1935, 5000, 5080}
    assert not {each.port for each in tried if each.node == "lb-1"} & {*aim().public_ports, *aim().admin_ports}


def test_every_name_and_every_port_has_a_check_of_its_own() -> None:
    titles = [check.title for check in outside.checks(aim(extraNames=["www.example.com"]), None)]
    assert len(set(titles)) == len(titles)
    for said in ("www.example.com leads to", "certificate of www.example.com", "port 6080 is open to adminCidrs"):
        assert [title for title in titles if title.startswith(said)], titles


# ---- what is made of what is seen


@pytest.mark.parametrize(
    ("verdict", "saw", "remedy"),
    [
        (
            outside.dns("a.example.com", ["192.0.2.1"], ADDRESS),
            "192.0.2.1",
            f"Set the record a.example.com A {ADDRESS}",
        ),
        (outside.dns("a.example.com", [], ADDRESS), "it has no address", "Set the record"),
        (outside.dns("a.example.com", [ADDRESS, "192.0.2.1"], ADDRESS), "192.0.2.1", "no other A record"),
        (outside.port("mine", "refused", admin=False), "refused", "make status STACK=mine"),
        (outside.port("mine", "no answer", admin=True), "no answer", "in adminCidrs"),
        (outside.port("mine", "no answer", admin=False), "no answer", "preview --refresh -s mine"),
        (outside.closed("mine", [Endpoint("db-1", "198.51.100.6", 27017)], 9), "db-1 (198.51.100.6) on 27017", "up"),
        (outside.redirect("mine", "h", Answer(200)), "200", "make status"),
        (outside.redirect("mine", "h", Answer(301, {"location": "http://h/"})), "301 http://h/", "another server"),
        (outside.served("mine", Answer(503)), "503", "make repair STACK=mine"),
        (outside.served("mine", Answer(error="no answer")), "no answer", "make status"),
        (outside.web_socket("mine", Answer(426)), "426", "does not let WebSockets through"),
        (outside.rtmp("mine", "refused", b""), "refused", "make status"),
        (outside.rtmp("mine", b"\x03" + bytes(9), b""), "10 bytes instead", "make status"),
        (outside.rtmp("mine", b"H" + bytes(2 * RTMP_PART), bytes(RTMP_PART)), "version 72", "make status"),
        (
            outside.rtmp("mine", b"\x03" + bytes(2 * RTMP_PART), b"\x01" * RTMP_PART),
            "does not return C1",
            "make status",
        ),
        (outside.clock(Answer(200, {"date": "Sun, 22 Nov 2026 00:01:00 GMT"}), NOW), "+60 s there", "date -u"),
    ],
)
def test_a_fault_is_told_with_what_to_do(verdict: Verdict, saw: str, remedy: str) -> None:
    assert verdict.result is Result.FAILED
    assert saw in verdict.saw
    assert remedy in verdict.remedy


@pytest.mark.parametrize(
    "verdict",
    [
        outside.dns("a.example.com", [ADDRESS], ADDRESS),
        outside.port("mine", "open", admin=True),
        outside.closed("mine", [], 9),
        outside.redirect("mine", "h", Answer(301, {"location": "https://h:5443/"})),
        outside.served("mine", Answer(404)),
        outside.web_socket("mine", Answer(101)),
        outside.rtmp("mine", b"\x03" + bytes(2 * RTMP_PART), bytes(RTMP_PART)),
        outside.clock(Answer(200, {"date": "Sun, 22 Nov 2026 00:00:04 GMT"}), NOW),
    ],
)
def test_what_is_well_needs_nothing(verdict: Verdict) -> None:
    assert (verdict.result, verdict.remedy) == (Result.PASSED, "")


def test_an_answer_without_a_date_says_nothing_about_clocks() -> None:
    assert outside.clock(Answer(error="refused"), NOW).result is Result.NOT_LOOKED_AT


def test_a_certificate_is_judged_by_its_days_and_by_who_is_to_renew_it() -> None:
    def days(count: int, at: Target) -> Verdict:
        ends = NOW + timedelta(days=count, hours=1)
        return outside.certificate(at, {"notAfter": f"{ends:%b %d %H:%M:%S %Y} GMT"}, NOW)

    assert days(14, aim()) == passed("trusted, 14 days left")
    assert "antmedia-certificate" in days(13, aim()).remedy
    own = provide(["live.example.com"], begins=NOW - timedelta(days=1))
    assert "tls.chain" in days(13, aim(mode="provided", email=None, chain=own.chain, key=own.key)).remedy


def test_a_certificate_that_is_not_trusted_is_told_by_what_the_stack_file_wants() -> None:
    unknown = "unable to get local issuer certificate"
    assert "certificate/status" in outside.certificate(aim(), unknown, NOW).remedy
    private = aim(acmeDirectory="https://acme.example.com/dir")
    assert "--ca-file" in outside.certificate(private, unknown, NOW).remedy
    expected = outside.certificate(aim(mode="self-signed", email=None), "self-signed certificate", NOW)
    assert expected.result is Result.NOT_LOOKED_AT


# ---- talking


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback for one connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join(10)


@pytest.fixture
def own_certificate(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context for live.example.com, and the file with what trusts it."""
    own = provide(["live.example.com"])
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text(own.chain)
    key.write_text(own.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context, str(chain)


@pytest.mark.parametrize(
    ("name", "trusted", "seen"),
    [
        ("live.example.com", True, "live.example.com"),
        ("live.example.com", False, "self-signed certificate"),
        ("other.example.com", True, "Hostname mismatch"),
    ],
)
def test_certificates_are_checked_as_viewers_check_them(
    own_certificate: tuple[ssl.SSLContext, str], name: str, trusted: bool, seen: str
) -> None:
    context, authorities = own_certificate

    def answer(connection: socket.socket) -> None:
        with_tls = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            with_tls.do_handshake()
            with_tls.recv(1)
        except OSError:
            pass

    with serving(answer) as port:
        found = network.certificate("127.0.0.1", name, port, authorities if trusted else None)
    assert seen in str(found)


def test_a_handshake_of_rtmp_returns_what_was_sent() -> None:
    sent = bytes(8) + bytes(range(256)) * 5 + bytes(RTMP_PART - 8 - 1280)

    def answer(connection: socket.socket) -> None:
        with connection.makefile("rb") as heard:
            greeting = heard.read(1 + RTMP_PART)
        connection.sendall(b"\x03" + bytes(RTMP_PART) + greeting[1:])

    with serving(answer) as port:
        found = network.rtmp("127.0.0.1", "live.example.com", port, sent, tls=False)
    assert outside.rtmp("mine", found, sent).result is Result.PASSED


def test_what_does_not_answer_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert network.connecting("127.0.0.1", port) == "open"
    assert network.connecting("127.0.0.1", port) == "refused"
    assert network.request("127.0.0.1", "h", port, "/", tls=False) == Answer(error="refused")
    assert network.certificate("127.0.0.1", "h", port, None) == "refused"
    with serving(lambda connection: connection.sendall(b"SSH-2.0-x\r\n\r\n")) as port:
        assert network.request("127.0.0.1", "h", port, "/", tls=False).error.startswith("SSH-2.0-x")


# ---- AWS


AMI = "ami-0ccc0000000001302"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """The lab's AWS API."""
    running, made = start()
    yield made
    running.close()


def account_at(api: Api, **more: Any) -> Account:
    """As a stack file's settings name it; `more` are clients of the test's own."""
    endpoints = [dict.fromkeys(("ec2", "sts", "servicequotas"), api.url)]
    aws = Account({"region": "us-east-1", "accessKey": "k", "secretKey": "s", "endpoints": endpoints})
    aws._clients.update({service.replace("_", "-"): client for service, client in more.items()})
    return aws


def asked(cluster: ClusterPlan, aws: Account, deployed: tuple[str, ...] = ()) -> dict[str, Verdict]:
    """By title."""
    return {each.title: each.look() for each in account.checks(cluster, aws, deployed, None)}


def test_images_and_types_are_looked_for_in_the_stacks_region(api: Api) -> None:
    origins, missing_ami = {"count": 2}, "ami-0123456789abcdef0"
    cluster = made(media={"ami": AMI, "origins": origins}, database={"ami": AMI}, loadBalancer={"ami": missing_ami})
    found = asked(cluster, account_at(api))
    assert found["AWS answers"].saw.startswith("account 123456789012")
    (missing,) = [verdict for title, verdict in found.items() if f"{missing_ami} of lb-1" in title]
    assert missing.saw == "there is none in us-east-1"
    (good,) = [verdict for title, verdict in found.items() if f"{AMI} of origin-1" in title]
    assert good == passed("EC2 would start it")
    assert found["c6i.xlarge is offered in its zones"] == passed("us-east-1a, us-east-1b")


def test_an_image_given_by_name_is_looked_for_among_its_publishers(api: Api) -> None:
    seen: list[dict[str, Any]] = []

    class Images:
        """EC2 with one image of Debian's."""

        meta = type("Meta", (), {"region_name": "us-east-1"})

        def describe_images(self, **asked: Any) -> dict[str, Any]:
            seen.append(asked)
            return {"Images": [{"ImageId": "ami-0ccc0000000001302", "State": "available"}]}

        def run_instances(self, **asked: Any) -> None:
            seen.append(asked)
            raise ClientError({"Error": {"Code": "DryRunOperation"}}, "RunInstances")

    checks = account.checks(made(), account_at(api, ec2=Images()), (), None)
    title = f"image {DEBIAN_AMI} of lb-1, db-1 can be started"
    assert next(each.look() for each in checks if each.title == title) == passed("EC2 would start it")
    assert seen[0] == {"Owners": ["136693071363"], "Filters": [{"Name": "name", "Values": [DEBIAN_AMI]}]}
    assert seen[1]["ImageId"] == "ami-0ccc0000000001302"


def test_nothing_is_started(api: Api) -> None:
    before = api.ec2.describe_instances()["Reservations"]
    asked(made(media={"ami": AMI}), account_at(api))
    assert api.ec2.describe_instances()["Reservations"] == before


@pytest.mark.parametrize(
    ("code", "result", "said"),
    [
        ("DryRunOperation", Result.PASSED, "would start"),
        ("OptInRequired", Result.FAILED, "Subscribe to the product in the AWS Marketplace"),
        ("UnauthorizedOperation", Result.NOT_LOOKED_AT, "own network only"),
        ("VPCIdNotSpecified", Result.NOT_LOOKED_AT, "no default VPC"),
        ("InvalidParameterValue", Result.FAILED, "Do image and instance type go together?"),
    ],
)
def test_a_start_that_was_only_tried_is_understood_by_its_code(code: str, result: Result, said: str) -> None:
    verdict = account.start(code, "In order to use this AWS Marketplace product …")
    assert verdict.result is result
    assert said in f"{verdict.saw} {verdict.remedy}"


def test_a_type_that_a_zone_has_not_is_told_with_the_nodes_there() -> None:
    verdict = account.offered(
        "c9x.large", {"us-east-1a": ["edge-1"], "us-east-1b": ["edge-2", "edge-4"]}, {"us-east-1a"}
    )
    assert verdict.saw == "not in us-east-1b (edge-2, edge-4)"
    assert "another type than c9x.large" in verdict.remedy


@pytest.mark.parametrize(("most", "result"), [(20, Result.PASSED), (19, Result.FAILED)])
def test_a_quota_counts_what_is_taken_and_what_is_to_come(most: int, result: Result) -> None:
    verdict = account.quota(account.STANDARD_VCPUS, "eu-west-1", most, used=6, more=14)
    assert verdict.result is result
    if result is Result.FAILED:
        assert "--region eu-west-1 --service-code ec2 --quota-code L-1216C47A --desired-value 20 " in verdict.remedy


class Quotas:
    """What Service Quotas answers; moto knows few."""

    def __init__(self, value: float) -> None:
        self.value = value

    def get_service_quota(self, **_: str) -> dict[str, Any]:
        return {"Quota": {"Value": self.value}}


def test_hosts_that_exist_are_not_counted_twice(api: Api) -> None:
    cluster = made(media={"ami": AMI, "origins": {"count": 1}, "edges": {"count": 1}}, database={"mode": "none"})
    need = {node.name: (cluster.settings.figures(node.instance_type) or pytest.fail()).vcpus for node in cluster.nodes}
    running = api.ec2.run_instances(
        ImageId=AMI, InstanceType="c6i.xlarge", MinCount=1, MaxCount=1, SubnetId=api.network().subnet
    )

    def vcpus(deployed: tuple[str, ...], most: int = 1000) -> Verdict:
        return asked(cluster, account_at(api, service_quotas=Quotas(most)), deployed)["quota of vCPUs"]

    taken = int(re.findall(r"of which (\d+) are taken", vcpus(()).saw)[0])
    enough = taken + sum(need.values()) - need["edge-1"]
    assert vcpus(("edge-1",), enough).result is Result.PASSED
    assert vcpus((), enough).result is Result.FAILED
    assert vcpus(()).saw.endswith(f"; {sum(need.values())} more are needed")
    api.ec2.terminate_instances(InstanceIds=[running["Instances"][0]["InstanceId"]])
    assert f"of which {taken - 4} are taken" in vcpus(()).saw, "a c6i.xlarge has four"


def test_a_quota_that_nobody_has_changed_is_aws_own(api: Api) -> None:
    class Unchanged:
        def get_service_quota(self, **_: str) -> dict[str, Any]:
            raise ClientError({"Error": {"Code": "NoSuchResourceException"}}, "GetServiceQuota")

        def get_aws_default_service_quota(self, **_: str) -> dict[str, Any]:
            return {"Quota": {"Value": 7.0}}

    assert asked(made(), account_at(api, service_quotas=Unchanged()))["quota of VPCs"].saw.startswith("7 VPCs, ")


def test_what_aws_does_not_answer_was_not_looked_at(api: Api) -> None:
    class Refusing:
        def get_service_quota(self, **_: str) -> dict[str, Any]:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetServiceQuota")

    refused = asked(made(), account_at(api, service_quotas=Refusing()))["quota of VPCs"]
    assert refused == not_looked_at("AccessDenied: no")
    emulated = asked(made(), account_at(api))["quota of vCPUs"]
    assert emulated.result is Result.NOT_LOOKED_AT
    assert "The lab's AWS API cannot do this" in emulated.saw
    elsewhere = Account({"region": "us-east-1", "endpoints": [{"ec2": api.url}], "accessKey": "k", "secretKey": "s"})
    assert "aws:endpoints has none for service-quotas" in asked(made(), elsewhere)["quota of VPCs"].saw


# ---- the command


def test_each_verdict_stands_behind_its_check_and_failures_have_their_remedy_below() -> None:
    checks = [
        Check("a", lambda: passed("fine")),
        Check("b", lambda: failed("broken", "mend it")),
        Check("c", lambda: not_looked_at("dark")),
    ]
    said = io.StringIO()
    verdicts = command.looked(checks, Console(file=said, width=80))
    assert said.getvalue().split("\n") == [
        "ok    a: fine", "FAIL  b: broken", "      mend it" + " " * 67, "?     c: not looked at: dark", "",
    ]  # fmt: skip
    assert exit_code(verdicts) == 2
    assert exit_code(verdicts[::2]) == 0
    found = command.document("mine", checks, verdicts)["findings"]
    assert found[1] == {"check": "b", "result": "failed", "saw": "broken", "remedy": "mend it"}
    assert json.dumps(found)


def test_on_a_terminal_what_is_not_known_yet_is_shown_too() -> None:
    said = io.StringIO()

    def slow() -> Verdict:
        deadline = time.monotonic() + PATIENCE
        while "…     slow" not in said.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        return passed("late")

    checks = [Check("slow", slow), Check("quick", lambda: passed("now"))]
    command.looked(checks, Console(file=said, force_terminal=True, width=80, height=20, _environ={"TERM": "xterm"}))
    assert "…     slow" in said.getvalue()
    assert "slow: late" in said.getvalue().rpartition("…")[2]


class Bare(Stack):
    """A stack file, and a state with these outputs."""

    def __init__(self, **outputs: Any) -> None:
        super().__init__("mine")
        object.__setattr__(self, "outputs", outputs)

    def export(self) -> State:
        found = {"type": "pulumi:pulumi:Stack", "urn": "urn:x", "outputs": vars(self)["outputs"]}
        return State({"deployment": {"resources": [found]}})

    def settings(self) -> Settings:
        return made().settings

    def configuration(self) -> dict[str, Any]:
        return {}


def test_before_the_first_update_only_aws_is_asked() -> None:
    before = [check.title for check in command.everything(Bare(), None)]
    after = [check.title for check in command.everything(Bare(**OUTPUTS), None)]
    assert before[0] == "AWS answers"
    assert after[-len(before) :] == before
    assert "port 443 is open" in after[: -len(before)]
