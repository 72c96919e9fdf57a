"""What `make status` makes of what hosts say. The texts in haproxy/ are a real HAProxy's."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tools.status import report

CAPTURED: dict[str, Any] = json.loads((Path(__file__).parent / "haproxy" / "after-a-reload.json").read_text())
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
NODES = {
    "lb-1": {"role": "lb", "privateAddress": "172.30.0.10"},
    "origin-1": {"role": "origin", "privateAddress": "172.30.0.32"},
    "origin-2": {"role": "origin", "privateAddress": "172.30.0.33"},
    "db-1": {"role": "db", "privateAddress": "172.30.0.20"},
}
HOSTS = {
    "origin-2": {"uptime": "90061.50 1.0", "service": "active"},
    "db-1": {"uptime": "59.9 1.0", "service": "failed"},
}


@pytest.fixture
def self_signed() -> str:
    """Good for 30 days from NOW."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=30))
    names = x509.SubjectAlternativeName([x509.DNSName("live.example.com")])
    return made.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def document(**changed: Any) -> dict[str, Any]:
    return report.document("mine", NODES, {**CAPTURED, **changed}, HOSTS, NOW)


def test_the_newest_worker_and_those_that_a_reload_left_behind_are_told_apart() -> None:
    found = report.workers(CAPTURED["processes"])
    assert [worker.is_old for worker in found].count(False) == 1
    assert {worker.pid for worker in found if worker.is_old} == set(CAPTURED["old"])
    shown = document()["haproxy"]
    assert {str(worker["pid"]) for worker in shown["oldWorkers"]} == set(CAPTURED["old"])
    assert max(worker["connections"] for worker in shown["oldWorkers"]) >= 1


def test_the_age_of_a_worker_counts_days() -> None:
    text = "#<PID> <type> <reloads> <uptime> <version>\n# workers\n9 worker 0 1d02h03m04s 3.0.11\n"
    (worker,) = report.workers(text)
    assert worker.age_seconds == 86400 + 2 * 3600 + 3 * 60 + 4


@pytest.mark.parametrize(
    ("status", "state"),
    [("UP", "up"), ("UP 1/2", "up"), ("DOWN", "down"), ("DOWN 1/2", "down"), ("MAINT (via nodes/edge-1)", "maint"),
     ("DRAIN", "drain"), ("no check", "unknown"), ("", "unknown")],
)  # fmt: skip
def test_a_servers_state_is_one_word(status: str, state: str) -> None:
    assert report.state(status) == state


def test_a_node_has_its_state_its_check_and_its_hosts_answer() -> None:
    node = document()["nodes"]["origin-2"]
    assert (node["state"], node["check"], node["service"], node["uptimeSeconds"]) == ("up", "L7OK", "active", 90061)


def test_a_node_that_haproxy_does_not_know_and_that_does_not_answer_is_unknown() -> None:
    node = document()["nodes"]["origin-1"]
    assert (node["state"], node["check"], node["service"], node["uptimeSeconds"]) == ("unknown", None, None, None)


def test_what_is_no_media_node_has_no_state_in_a_pool() -> None:
    shown = document()["nodes"]
    assert "state" not in shown["db-1"]
    assert "state" not in shown["lb-1"]
    assert shown["db-1"]["service"] == "failed"


def test_a_certificate_has_names_and_days_left(self_signed: str) -> None:
    assert report.certificate(self_signed, NOW) == {"names": ["live.example.com"], "daysLeft": 30}
    assert report.certificate(self_signed, NOW + timedelta(days=31)) == {"names": ["live.example.com"], "daysLeft": -1}


def test_a_haproxy_that_does_not_run_is_said_to_be_down_and_nothing_fails() -> None:
    shown = document(info="", statistics="", processes="", old={}, certificate="")
    assert shown["haproxy"] == {
        "running": False, "version": None, "connections": None, "lastLoadSeconds": None, "oldWorkers": [],
    }  # fmt: skip
    assert shown["certificate"] is None
    screen = report.screen(shown)
    assert "HAProxy does not run" in screen
    assert "certificate: none" in screen


def test_the_screen_has_a_line_for_each_node_and_each_old_worker() -> None:
    lines = report.screen(document()).splitlines()
    assert [line.split()[0] for line in lines[3:7]] == list(NODES)
    assert "up" in lines[5].split()
    assert "1 d 1 h" in lines[5]
    assert "no answer" in lines[4]
    assert len([line for line in lines if line.startswith("  old worker ")]) == len(CAPTURED["old"])


def test_the_document_is_json() -> None:
    assert json.loads(json.dumps(document())) == document()
