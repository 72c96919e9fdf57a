"""Every file that the product writes onto hosts, before the programs that read it there."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from typing import Any

import pytest

from cluster import haproxy, host_files, render
from cluster.cloud_init import cloud_config, ssh_keys
from cluster.host_files import HostFile
from cluster.plan import ClusterPlan, plan
from cluster.settings import load
from tests.config.conftest import HaproxyCheck, TextCheck
from tests.unit.cluster.certificates import provide
from tests.unit.cluster.conftest import NOW, VALID

USERS = "userlist stats\n    user stats password $6$0123456789abcdef$x\n"

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "without a domain": {"domain": None, "tls": {"mode": "self-signed"}},
    "without TLS": {"tls": {"mode": "none"}},
    "many nodes": {"media": {**VALID["media"], "origins": {"count": 100}, "edges": {"count": 100}}},
    "Community Edition": {"media": {**VALID["media"], "edition": "community"}},
    "three zones": {"network": {"zones": 3, "cidr": "10.1.0.0/20"}},
    "many administrators": {"adminCidrs": [f"203.0.113.{n}/32" for n in range(20)]},
    "the longest waits": {
        "loadBalancer": {
            "instanceType": "c6i.8xlarge",
            "maxConnections": 300_000,
            "timeouts": {
                "connectSeconds": 60,
                "requestSeconds": 60,
                "idleSeconds": 3600,
                "tunnelMinutes": 1440,
                "drainMinutes": 1440,
            },
        }
    },
}


PROVIDED = provide([VALID["domain"]], begins=NOW - timedelta(days=1))
MODES: dict[str, dict[str, Any]] = {
    "letsencrypt": {"mode": "letsencrypt"},
    "provided": {"mode": "provided", "chain": PROVIDED.chain, "key": PROVIDED.key},
    "self-signed": {"mode": "self-signed"},
    "none": {"mode": "none"},
}
BALANCERS: dict[str, dict[str, Any]] = {
    "redirecting": {},
    "serving the clear": {"clearHttp": "serve"},
    "not sticky, without limits": {"stickiness": False, "limits": False},
    "with names": {"publishName": "publish.live.example.com", "playName": "play.live.example.com"},
}
for tls_mode, balancer, count in itertools.product(MODES, BALANCERS, (1, 2, 50)):
    named = balancer == "with names"
    if tls_mode == "provided" and named:
        continue  # its certificate is for one name
    VARIANTS[f"{tls_mode}, {balancer}, {count} of each kind"] = {
        "tls": MODES[tls_mode],
        "loadBalancer": BALANCERS[balancer],
        "media": {**VALID["media"], "origins": {"count": count}, "edges": {"count": count}},
    }


def cluster(**replaced: Any) -> ClusterPlan:
    return plan(load({**VALID, **replaced}, now=NOW), project="antmedia", stack="test")


@pytest.mark.parametrize("variant", VARIANTS)
def test_haproxy_accepts_its_configuration_without_a_warning(haproxy_check: HaproxyCheck, variant: str) -> None:
    checked = haproxy_check(
        {haproxy.CONFIG: render.haproxy_cfg(cluster(**VARIANTS[variant])), haproxy.STATS_USERS: USERS},
        {haproxy.SERVER_STATE: "1\n"},
    )
    assert checked.returncode == 0, checked.stdout
    assert "[WARNING]" not in checked.stdout, checked.stdout
    assert "[NOTICE]" not in checked.stdout, checked.stdout


def test_haproxys_check_does_find_a_mistake(haproxy_check: HaproxyCheck) -> None:
    text = render.haproxy_cfg(cluster()).replace("timeout tunnel", "timeout tunel")
    checked = haproxy_check({haproxy.CONFIG: text, haproxy.STATS_USERS: USERS}, {haproxy.SERVER_STATE: "1\n"})
    assert checked.returncode == 1
    assert "tunel" in checked.stdout


@pytest.mark.parametrize("name", [name for name in render.HOST_FILES if name.endswith(".sh")])
def test_every_script_passes_shellcheck(shellcheck: TextCheck, name: str) -> None:
    checked = shellcheck(render.HOST_FILES[name](cluster()) + "\nmain\n")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    "program", [host_files.haproxy_put(), host_files.certificate_program(), host_files.database_program()]
)
def test_every_program_that_is_left_on_a_host_passes_shellcheck(shellcheck: TextCheck, program: HostFile) -> None:
    assert program.text.startswith("#!/bin/bash\n")
    checked = shellcheck(program.text)
    assert checked.returncode == 0, checked.stdout


def test_every_script_stops_at_the_first_failure() -> None:
    for name, text in render.HOST_FILES.items():
        if name.endswith(".sh"):
            assert "\nset -euo pipefail\n" in text(cluster()), name


def test_cloud_init_accepts_user_data(cloud_init_schema: TextCheck) -> None:
    ssh = cluster().settings.ssh
    checked = cloud_init_schema("#cloud-config\n" + json.dumps({**cloud_config(ssh), "ssh_keys": ssh_keys(ssh)}))
    assert checked.returncode == 0, checked.stdout
    wrong = cloud_init_schema("#cloud-config\n" + json.dumps({**cloud_config(ssh), "users": [{"nmae": "x"}]}))
    assert wrong.returncode != 0
