"""Real hosts get certificates from the lab's ACME server as they would from Let's Encrypt."""

from __future__ import annotations

import datetime
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from lab import cgroups
from lab.layout import CLIENT_ADDRESS
from tests.lab.labs import Instance, Lab, Network, eventually, from_anywhere

NAMES = ("live.acme.test", "play.acme.test")
ACME_ONLY = "192.0.2.90/32"
DIRECTORY = "https://acme.lab.test/dir"
REFUSED = 7  # curl: could not connect


@pytest.fixture(scope="module")
def web(lab: Lab, network: Network) -> Instance:
    """A host with certbot and a web server for challenges, whose port 80 lets nobody in but the ACME server."""
    web = network.launch("acme-web", network.group("acme-web", (from_anywhere("tcp", 80, cidr=ACME_ONLY),))).ready()
    web.run("apt-get", "-qq", "update")
    web.run("apt-get", "-qqy", "--no-install-recommends", "install", "certbot")
    web.run("mkdir", "/srv/web")
    web.run("systemd-run", "--quiet", "python3", "-m", "http.server", "--directory", "/srv/web", "80")
    return web


@pytest.fixture
def names(lab: Lab, web: Instance) -> Iterator[None]:
    """Both names point at the host's public address."""
    for name in NAMES:
        lab.command("dns", name, web.public)
    yield
    for name in NAMES:
        lab.command("dns", name, "-")


def _certbot(web: Instance, *arguments: str) -> str:
    """What certbot says; its first word is the exit status."""
    common = ("--non-interactive", "--server", DIRECTORY)
    done = web.run("certbot", *arguments, *common, check=False)
    return f"{done.returncode} {done.stdout}{done.stderr}"


def _order(web: Instance) -> str:
    domains = [part for name in NAMES for part in ("--domain", name)]
    account = ("--agree-tos", "--register-unsafely-without-email")
    return _certbot(
        web, "certonly", "--webroot", "-w", "/srv/web", "--key-type", "ecdsa", "--force-renewal", *account, *domains
    )


def _renew(web: Instance) -> str:
    # Without a terminal certbot waits up to eight minutes before it renews, to spread the load on the real server.
    return _certbot(web, "renew", "--force-renewal", "--no-random-sleep-on-renew")


def _orders(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.command("acme", "orders").stdout)
    return found


def _chain(web: Instance) -> list[x509.Certificate]:
    pem = web.run("cat", f"/etc/letsencrypt/live/{NAMES[0]}/fullchain.pem").stdout
    return x509.load_pem_x509_certificates(pem.encode())


def test_a_host_trusts_the_server_and_goes_on_doing_so_when_packages_change_what_it_trusts(web: Instance) -> None:
    for command in (
        ("curl", "-sSf", DIRECTORY),
        ("python3", "-c", f"import urllib.request; print(urllib.request.urlopen('{DIRECTORY}').read().decode())"),
        ("sh", "-c", f"update-ca-certificates --fresh >&2; curl -sSf {DIRECTORY}"),
    ):
        assert json.loads(web.run(*command).stdout)["newOrder"].startswith("https://acme.lab.test/")
    verify = (
        "openssl s_client -connect acme.lab.test:443 -verify_return_error -verify_hostname acme.lab.test </dev/null"
    )
    assert "Verify return code: 0 (ok)" in web.run("sh", "-c", verify).stdout


@pytest.mark.usefixtures("names")
def test_a_certificate_has_all_names_chains_to_the_acme_root_and_is_good_for_90_days(lab: Lab, web: Instance) -> None:
    before = _orders(lab)
    said = _order(web)
    assert said.startswith("0 "), said
    leaf, intermediate = _chain(web)
    root = x509.load_pem_x509_certificate(lab.command("acme", "root").stdout.encode())
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(alternative.get_values_for_type(x509.DNSName)) == sorted(NAMES)
    assert round((leaf.not_valid_after_utc - leaf.not_valid_before_utc) / datetime.timedelta(days=1)) == 90
    after = _orders(lab)
    assert after["orders"] == before["orders"] + 1
    assert after["certificates"] == before["certificates"] + 1
    assert after["failed_validations"] == before["failed_validations"]


@pytest.mark.usefixtures("names")
def test_a_name_that_does_not_exist_is_not_certified_until_it_does(lab: Lab, web: Instance) -> None:
    lab.command("dns", NAMES[1], "--none")
    before = _orders(lab)
    said = _order(web)
    assert said.startswith("1 ") and f"Domain: {NAMES[1]}" in said and f"Domain: {NAMES[0]}" not in said, said
    after = _orders(lab)
    assert after["certificates"] == before["certificates"]
    assert after["failed_validations"] == before["failed_validations"] + 1, "each order is validated anew"
    lab.command("dns", NAMES[1], web.public)
    assert _order(web).startswith("0 ")


@pytest.mark.usefixtures("names")
def test_a_name_that_points_elsewhere_is_not_certified(lab: Lab, web: Instance) -> None:
    lab.command("dns", NAMES[0], CLIENT_ADDRESS)
    before = _orders(lab)["certificates"]
    said = _order(web)
    assert said.startswith("1 ") and f"Domain: {NAMES[0]}" in said, said
    assert _orders(lab)["certificates"] == before


@pytest.mark.usefixtures("names")
def test_a_stopped_server_refuses_and_a_started_one_knows_its_accounts(lab: Lab, web: Instance) -> None:
    assert _order(web).startswith("0 ")
    root, serial = lab.command("acme", "root").stdout, _chain(web)[0].serial_number
    lab.command("acme", "stop")
    try:
        assert web.run("curl", "-sS", DIRECTORY, check=False).returncode == REFUSED
        assert _renew(web).startswith("1 ")
        assert _chain(web)[0].serial_number == serial
    finally:
        lab.command("acme", "start")
    said = _renew(web)
    assert said.startswith("0 "), said
    assert _chain(web)[0].serial_number != serial
    assert lab.command("acme", "root").stdout == root


def test_it_costs_nothing_before_its_first_use_and_ends_with_a_killed_controller(new_lab: Callable[[], Lab]) -> None:
    lab = new_lab()
    lab.command("acme", "lifetime", "3600")
    group = Path(lab.layout.cgroup_file.read_text()) / "acme"
    assert not group.exists()
    lab.command("acme", "root")
    running = cgroups.processes(group)
    assert len(running) == 1
    report = _orders(lab)
    assert (report["lifetime_seconds"], report["listening"]) == (3600, True)
    assert 0 < report["memory_bytes"] < 30e6
    late = lab.command("acme", "lifetime", "60", check=False)
    assert late.returncode == 1 and late.stderr.startswith("The ACME server has been used already")
    os.kill(lab.controller(), signal.SIGKILL)
    eventually(lambda: cgroups.processes(group), [], seconds=3.0)
