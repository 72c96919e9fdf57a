"""Certificates of a real ACME server: they arrive, are renewed under load, and outlive their host."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.deployments import DOMAIN, STREAM, Deployment, frames_played, prepare, publishing
from tests.lab.labs import CHECKOUT, eventually
from tests.patience import PATIENCE
from tests.unit.cluster.certificates import provide

NAMES = {DOMAIN, "www.example.test", "publish.example.test", "play.example.test"}
RENEWALS = int(os.environ.get("ANTMEDIA_TEST_RENEWALS", "5"))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Deployed with four names."""
    made = prepare(tmp_path_factory.mktemp("certificates"))

    def four_names(config: dict[str, Any]) -> None:
        config["antmedia:tls"].update(mode="letsencrypt", extraNames=["www.example.test"])
        config["antmedia:loadBalancer"].update(publishName="publish.example.test", playName="play.example.test")

    made.edit(four_names)
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


@pytest.fixture(scope="module")
def authority(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the ACME server's root, for clients that trust nothing else."""
    file = tmp_path_factory.mktemp("authority") / "root.pem"
    file.write_text(deployment.lab.command("acme", "root").stdout)
    return file


def served(deployment: Deployment, port: int = 443, name: str = DOMAIN) -> str:
    """Issuer, serial number and names of the certificate that a viewer is shown."""
    return deployment.lab.client(
        "sh", "-c",
        f"openssl s_client -connect {DOMAIN}:{port} -servername {name} </dev/null 2>/dev/null | "
        "openssl x509 -noout -issuer -serial -ext subjectAltName",
        check=False,
    ).stdout  # fmt: skip


def serial(deployment: Deployment) -> str:
    match = re.search(r"serial=(\w+)", served(deployment))
    assert match, "no certificate is served"
    return match[1]


def orders(deployment: Deployment) -> int:
    found: int = json.loads(deployment.lab.command("acme", "orders").stdout)["certificates"]
    return found


def look_after(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return deployment.lab.host("lb-1", "antmedia-certificate", *arguments, check=False)


@pytest.mark.parametrize("port", [443, 5443])
def test_the_certificate_chains_to_the_authority_and_has_every_name(
    deployment: Deployment, authority: Path, port: int
) -> None:
    assert set(re.findall(r"DNS:([^,\s]+)", served(deployment, port))) == NAMES
    for name in NAMES:
        checked = deployment.lab.client(
            "curl", "-s", "-m", "10", "--cacert", str(authority), "-o", "/dev/null", "-w", "%{http_code}",
            f"https://{name}:{port}/LiveApp/", check=False,
        )  # fmt: skip
        assert checked.stdout == "200", f"{name}:{port}: curl exit {checked.returncode}"


def test_the_key_is_ecdsa_p256_and_roots_alone(deployment: Deployment) -> None:
    shown = deployment.lab.host(
        "lb-1",
        "sh",
        "-c",
        "stat -c %a /etc/haproxy/tls/site.pem; openssl pkey -in /etc/haproxy/tls/site.pem -noout -text",
    ).stdout
    assert shown.startswith("600\n")
    assert "NIST CURVE: P-256" in shown


def test_a_good_certificate_is_left_alone(deployment: Deployment) -> None:
    before = orders(deployment), serial(deployment)
    said = look_after(deployment)
    assert said.returncode == 0
    assert said.stdout.startswith("valid until ")
    assert (orders(deployment), serial(deployment)) == before


def test_a_renewal_is_served_from_the_next_handshake_on_and_loses_nothing(deployment: Deployment) -> None:
    load = [
        sys.executable, "-m", "lab", "--lab", deployment.lab.name, "client", "--",
        sys.executable, str(CHECKOUT / "tests/lab/load.py"), f"https://{DOMAIN}/LiveApp/",
    ]  # fmt: skip
    seen = {serial(deployment)}
    master = deployment.haproxy()
    with publishing(deployment, "renewals") as sending:
        eventually(lambda: frames_played(deployment, f"{STREAM}/renewals") > 0, True, 20)
        with subprocess.Popen(load, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as requests:
            for number in range(RENEWALS):
                said = look_after(deployment, "force")
                assert said.returncode == 0, said.stdout + said.stderr
                seen.add(serial(deployment))
                assert len(seen) == number + 2, "the next handshake was shown an old certificate"
            counted = json.loads(requests.communicate("stop\n", timeout=PATIENCE)[0])
        assert sending.poll() is None, "a stream was cut"
    print(f"{RENEWALS} renewals, {counted['answered']} requests answered, {counted['lost']} lost")
    assert counted["answered"] > 100
    assert counted["lost"] == 0, counted
    assert deployment.haproxy() == master, "a renewal reloaded HAProxy"


@contextlib.contextmanager
def authority_down(deployment: Deployment) -> Iterator[None]:
    deployment.lab.command("acme", "stop")
    try:
        yield
    finally:
        deployment.lab.command("acme", "start")


@contextlib.contextmanager
def authority_talks_nonsense(deployment: Deployment) -> Iterator[None]:
    """Another service of good reputation answers where the authority should."""

    def directory(url: str) -> None:
        change = f"s|^directory=.*|directory={url}|"
        deployment.lab.host("lb-1", "sed", "-i", change, "/etc/antmedia/certificate.conf")

    directory("https://secretsmanager.us-east-1.amazonaws.com/")
    try:
        yield
    finally:
        directory("https://acme.lab.test/dir")


@pytest.mark.parametrize("failing", [authority_down, authority_talks_nonsense])
def test_a_failed_renewal_keeps_the_old_certificate_and_is_visible(
    deployment: Deployment, failing: Callable[[Deployment], contextlib.AbstractContextManager[None]]
) -> None:
    before = serial(deployment)
    with failing(deployment):
        said = look_after(deployment, "force")
        assert said.returncode == 1
        assert "what was served before is still served" in said.stdout + said.stderr
        assert serial(deployment) == before
        status = deployment.lab.host("lb-1", "cat", "/var/lib/antmedia-certificate/status").stdout
        assert "failed 1 times in a row" in status
        look_after(deployment)  # as the timer does
        status = deployment.lab.host("lb-1", "cat", "/var/lib/antmedia-certificate/status").stdout
        assert "failed 1 times in a row" in status, "the timer hid that a renewal has failed"
    assert look_after(deployment, "force").returncode == 0
    assert serial(deployment) != before


def test_a_new_host_takes_the_certificate_over_and_orders_none(deployment: Deployment) -> None:
    before = orders(deployment), serial(deployment)
    machine = deployment.lab.host("lb-1", "cat", "/etc/machine-id").stdout
    deployment.run("make", "repair", "STACK=lab", "NODE=lb-1", "ARGS=--yes")
    assert deployment.lab.host("lb-1", "cat", "/etc/machine-id").stdout != machine, "it is the old host"
    assert (orders(deployment), serial(deployment)) == before


def test_a_name_that_does_not_lead_here_yet_is_waited_for(deployment: Deployment, authority: Path) -> None:
    late = "late.example.test"
    deployment.lab.command("dns", late, "--none")
    deployment.edit(lambda config: config["antmedia:tls"]["extraNames"].append(late))
    before = orders(deployment)
    deployment.up()  # succeeds
    address = deployment.outputs()["loadBalancerAddress"]
    assert f"{late} A {address}" in deployment.outputs()["dnsRecordToSet"]
    status = deployment.lab.host("lb-1", "cat", "/var/lib/antmedia-certificate/status").stdout
    assert status.startswith(f"waiting for these records to be set: {late} A {address}")
    assert orders(deployment) == before, "an order was wasted on a name that leads nowhere"
    deployment.lab.command("dns", late, address)
    began = time.monotonic()
    eventually(lambda: late in served(deployment), True, 120)
    print(f"the certificate arrived {time.monotonic() - began:.0f} s after the record was set")


def test_a_certificate_of_ones_own_is_served(deployment: Deployment) -> None:
    made = provide([*NAMES, "late.example.test"])

    def provided(config: dict[str, Any]) -> None:
        config["antmedia:tls"].update(mode="provided", chain=made.chain, key=made.key)

    deployment.edit(provided)
    deployment.up()
    assert "issuer=CN = test" in served(deployment).replace("issuer=CN=test", "issuer=CN = test")
    timer = deployment.lab.host("lb-1", "systemctl", "is-active", "antmedia-certificate.timer", check=False)
    assert timer.stdout.strip() == "inactive", "an ordered certificate would replace it"


def test_without_tls_viewers_are_served_in_the_clear(deployment: Deployment) -> None:
    deployment.edit(lambda config: config["antmedia:tls"].update(mode="none"))
    deployment.up()
    for port in (80, 5080):
        answer = deployment.fetch(f"http://{DOMAIN}:{port}/LiveApp/", "-o", "/dev/null", "-w", "%{http_code}")
        assert answer == "200", port
    closed = deployment.lab.client("curl", "-sk", "-m", "3", f"https://{DOMAIN}/LiveApp/", check=False)
    assert closed.returncode == 28, "port 443 is not silent"
    assert deployment.outputs()["url"] == f"http://{DOMAIN}"
    deployment.pulumi("preview", "--expect-no-changes", "--refresh")
