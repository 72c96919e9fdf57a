"""`make doctor` of a deployed stack: nothing fails while all is well, and each fault is found with what mends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.deployments import DOMAIN, Deployment, prepare
from tests.lab.labs import eventually


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("doctor"))
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


@pytest.fixture(scope="module")
def root(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What trusts the lab's certificates."""
    file = tmp_path_factory.mktemp("root") / "root.pem"
    file.write_text(deployment.lab.command("acme", "root").stdout)
    return file


def findings(deployment: Deployment, root: Path | None) -> dict[str, dict[str, str]]:
    """By check; those of AWS too."""
    trusted = f"--ca-file {root}" if root else ""
    done = deployment.run("make", "doctor", f"STACK={deployment.stack}", f"ARGS=--json {trusted}", check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    assert bool(done.returncode) == any(each["result"] == "failed" for each in found)
    return {each["check"]: each for each in found}


def failures(deployment: Deployment, root: Path | None) -> dict[str, str]:
    """What failed: the remedy by check."""
    found = findings(deployment, root).values()
    return {each["check"]: each["remedy"] for each in found if each["result"] == "failed"}


def test_a_deployment_that_serves_passes(deployment: Deployment, root: Path) -> None:
    found = findings(deployment, root)
    unseen = {check for check, each in found.items() if each["result"] == "not looked at"}
    assert {check for check, each in found.items() if each["result"] == "passed"} == found.keys() - unseen
    assert unseen == {
        "ports 50000 to 60000 by UDP, for WebRTC", "quota of vCPUs", "quota of Elastic IPs", "quota of VPCs",
    }  # fmt: skip
    for seen in (f"{DOMAIN} leads to", "a WebSocket opens", "RTMPS on port 443", "port 6080", "http on port 5080"):
        assert [check for check in found if check.startswith(seen)], found
    before = set(deployment.lab.status()[0])
    assert before, "and the hosts that it tried to start are not there"
    assert len(deployment.lab.status()) == 3


def test_certificates_of_an_authority_that_is_not_trusted_are_told(deployment: Deployment) -> None:
    failed = failures(deployment, None)
    assert set(failed) == {f"certificate of {DOMAIN}", "certificate of www.example.test"}
    assert "--ca-file" in failed[f"certificate of {DOMAIN}"]


def test_a_name_that_leads_elsewhere_is_told_with_the_record_to_set(deployment: Deployment, root: Path) -> None:
    deployment.lab.command("dns", DOMAIN, "192.0.2.99")
    failed = failures(deployment, root)
    deployment.lab.command("dns", DOMAIN, "-")
    (check,) = failed
    assert f"Set the record {DOMAIN} A {deployment.outputs()['loadBalancerAddress']}" in failed[check]


def test_a_rule_that_was_added_by_hand_is_seen_from_outside(deployment: Deployment, root: Path) -> None:
    ec2 = deployment.lab.api("ec2")
    named = [{"Name": "tag:Role", "Values": ["media"]}]
    (group,) = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    rule = {"IpProtocol": "tcp", "FromPort": 5080, "ToPort": 5080, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
    closed = "what is between hosts is closed to others"
    eventually(lambda: set(failures(deployment, root)), {closed}, 30)
    found = findings(deployment, root)[closed]
    assert "edge-1 (" in found["saw"]
    assert ") on 5080" in found["saw"]
    assert "up --refresh" in found["remedy"]
    ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
    eventually(lambda: failures(deployment, root), {}, 30)


def test_haproxy_that_does_not_run_fails_whatever_goes_through_it(deployment: Deployment, root: Path) -> None:
    deployment.lab.host("lb-1", "systemctl", "stop", "haproxy")
    failed = failures(deployment, root)
    deployment.lab.host("lb-1", "systemctl", "start", "haproxy")
    for check in ("port 443 is open", "a WebSocket opens", "a media node answers", "RTMP on port 1935 shakes hands"):
        assert "make status STACK=lab" in failed[check], check
    assert not [check for check in failed if "leads to 198.51." in check or "closed" in check or "AWS" in check]
    eventually(lambda: failures(deployment, root), {}, 60)


def test_nodes_without_power_fail_what_they_answer(deployment: Deployment, root: Path) -> None:
    for node in ("origin-1", "edge-1"):
        deployment.lab.command("kill", node)
    handshakes = {"a media node answers", "a WebSocket opens", "RTMP on port 1935 shakes hands"}
    eventually(lambda: handshakes <= set(failures(deployment, root)), True, 30)
    failed = failures(deployment, root)
    assert "make repair STACK=lab" in failed["a media node answers"]
    assert "port 443 is open" not in failed


def test_a_load_balancer_without_power_is_told_by_every_port(deployment: Deployment, root: Path) -> None:
    deployment.lab.command("kill", "lb-1")
    failed = failures(deployment, root)
    assert "port 443 is open" in failed
    assert "in adminCidrs" in failed["port 22 is open to adminCidrs"]
