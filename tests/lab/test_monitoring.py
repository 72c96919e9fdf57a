"""Every alarm on what hosts publish is driven over its threshold for real, and back.

The whole cluster, because what is published is about all of it. What EC2 would publish, the lab cannot: docs/lab.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.deployments import DOMAIN, Deployment, prepare
from tests.lab.labs import eventually
from tests.unit.cluster.certificates import provide

CHANGE_SECONDS = 360.0
"""Silence takes longest: four whole periods of a minute, after the one in which it begins."""

OF_EC2 = {"lb-1-system", "db-1-system", "lb-1-instance"}
PUBLISHED = {
    "no-healthy-origin",
    "no-healthy-edge",
    "nodes-down",
    "certificate",
    "lb-1-disk",
    "db-1-disk",
    "database-down",
}
CERTIFICATE = "/etc/haproxy/tls/site.pem"
DATA = "/var/lib/antmedia-database"
SMALL_FILE_SYSTEM = """
mkdir /small
mount -t tmpfs -o size=16m tmpfs /small
cd /small
mkdir lower upper work mount
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work mount
"""
"""Of a kind that counts as one on a disk, as the root file system of the lab's hosts is."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One origin, one edge, a database, and somebody who is told."""
    made = prepare(tmp_path_factory.mktemp("monitoring"), "lab-cluster")

    def watched(config: dict[str, Any]) -> None:
        config["antmedia:alarms"] = {"email": "ops@example.com"}
        config["antmedia:tls"]["extraNames"] = []
        for group in ("origins", "edges"):
            config["antmedia:media"][group]["count"] = 1

    made.edit(watched)
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


def alarms(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """What CloudWatch says of each, by its key."""
    prefix = f"antmedia-{deployment.stack}-"
    found = deployment.lab.api("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    return {alarm["AlarmName"].removeprefix(prefix): alarm for alarm in found}


def states(deployment: Deployment, keys: set[str]) -> dict[str, str]:
    return {key: alarm["StateValue"] for key, alarm in sorted(alarms(deployment).items()) if key in keys}


def become(deployment: Deployment, keys: set[str], state: str) -> None:
    eventually(lambda: states(deployment, keys), dict.fromkeys(sorted(keys), state), CHANGE_SECONDS, pause=5)


def on(deployment: Deployment, host: str, *command: str, **options: Any) -> str:
    return deployment.lab.host(host, *command, **options).stdout


def test_all_is_well_after_the_first_update_and_only_ec2s_own_checks_are_unknown(deployment: Deployment) -> None:
    found = alarms(deployment)
    assert set(found) == PUBLISHED | OF_EC2
    # The machine's own disk is every host's.
    become(deployment, PUBLISHED - {"lb-1-disk", "db-1-disk"}, "OK")
    listed = deployment.lab.command("alarms").stdout
    assert f"antmedia-{deployment.stack}-database-down" in listed
    assert states(deployment, OF_EC2) == dict.fromkeys(sorted(OF_EC2), "INSUFFICIENT_DATA")


def test_whoever_is_to_be_told_is_subscribed_to_what_every_alarm_tells(deployment: Deployment) -> None:
    (subscription,) = deployment.lab.api("sns").list_subscriptions()["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")
    for key, alarm in alarms(deployment).items():
        assert subscription["TopicArn"] in alarm["AlarmActions"], key
        assert alarm["OKActions"] == [subscription["TopicArn"]], key


def test_a_second_update_changes_nothing_and_nor_does_what_aws_knows_by_now(deployment: Deployment) -> None:
    deployment.pulumi("preview", "--expect-no-changes", "--refresh")


def test_what_goes_wrong_is_an_alarm_until_it_is_mended(deployment: Deployment) -> None:
    """All at once, since each takes minutes: no service on the nodes, the database stopped, a certificate that ends, a
    full file system on either host."""
    before = on(deployment, "lb-1", "cat", CERTIFICATE)
    ending = provide([DOMAIN], days=10)
    wrong = PUBLISHED
    for node in ("origin-1", "edge-1"):
        on(deployment, node, "systemctl", "stop", "antmedia")
    on(deployment, "db-1", "systemctl", "stop", "mongod")
    put_certificate(deployment, ending.chain + ending.key)
    fill(deployment, "db-1", DATA)
    on(deployment, "lb-1", "sh", "-ec", SMALL_FILE_SYSTEM)
    fill(deployment, "lb-1", "/small/mount")
    become(deployment, wrong, "ALARM")

    on(deployment, "lb-1", "sh", "-c", "umount /small/mount /small && rmdir /small")
    on(deployment, "db-1", "rm", f"{DATA}/full")
    put_certificate(deployment, before)
    on(deployment, "db-1", "systemctl", "start", "mongod")
    for node in ("origin-1", "edge-1"):
        on(deployment, node, "systemctl", "start", "antmedia")
    become(deployment, wrong, "OK")


def put_certificate(deployment: Deployment, pem: str) -> None:
    on(deployment, "lb-1", "antmedia-haproxy-put", CERTIFICATE, "600", stdin=pem)


def fill(deployment: Deployment, host: str, mount: str) -> None:
    """Nine tenths of what is left."""
    script = f'fallocate -l "$(($(df --output=avail -B1 {mount} | tail -n 1) * 9 / 10))" {mount}/full'
    on(deployment, host, "sh", "-c", script)


def test_hosts_that_die_are_alarms_and_a_node_that_somebody_took_out_is_none(deployment: Deployment) -> None:
    dead = {"nodes-down", "no-healthy-edge", "database-down"}
    for host in ("edge-1", "db-1"):
        deployment.lab.command("kill", host)
    become(deployment, dead, "ALARM")
    # Nobody is told twice of what died, nor of what stands in for it.
    assert "ALARM" not in states(deployment, {"no-healthy-origin", "db-1-disk"}).values()
    told = "echo 'set server nodes/edge-1 state {}' | socat - UNIX-CONNECT:/run/haproxy/admin.sock"
    on(deployment, "lb-1", "sh", "-c", told.format("maint"))
    become(deployment, {"nodes-down"}, "OK")
    on(deployment, "lb-1", "sh", "-c", told.format("ready"))
    for host in ("edge-1", "db-1"):
        deployment.lab.command("heal", host)
    become(deployment, dead, "OK")


def test_with_alarms_false_nothing_is_left_and_hosts_stop_publishing(deployment: Deployment) -> None:
    deployment.edit(lambda config: config.update({"antmedia:alarms": False}))
    deployment.up()
    kinds = {"cloudwatch alarms", "cloudwatch dashboards", "sns topics", "sns subscriptions"}
    assert not kinds & set(deployment.lab.objects())
    for host in ("lb-1", "db-1"):
        timers = on(deployment, host, "systemctl", "list-timers", "--all", "--output=json")
        assert "antmedia-metrics.timer" not in {timer["unit"] for timer in json.loads(timers)}, host
    deployment.pulumi("preview", "--expect-no-changes", "--refresh")
