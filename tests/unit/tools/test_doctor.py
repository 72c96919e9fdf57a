"""What `make doctor` makes of what it sees."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.settings import TlsMode
from tools.doctor import findings
from tools.doctor.findings import Result

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SENT = bytes(8) + bytes(range(256)) * 5 + bytes(248)
WHOLE = b"\x03" + bytes(1536) + bytes(8) + SENT[8:]


def test_a_name_leads_to_the_load_balancer_and_nowhere_else() -> None:
    assert findings.dns("a.test", ["192.0.2.1"], "192.0.2.1").result is Result.PASSED
    assert findings.dns("a.test", ["192.0.2.1", "192.0.2.2"], "192.0.2.1").result is Result.FAILED
    missing = findings.dns("a.test", [], "192.0.2.1")
    assert (missing.check, missing.result) == ("DNS of a.test", Result.FAILED)
    assert "a.test A 192.0.2.1" in missing.remedy


@pytest.mark.parametrize(("outcome", "result"), [("open", Result.PASSED), ("no answer", Result.FAILED)])
def test_a_port_that_is_to_be_open_is(outcome: str, result: Result) -> None:
    assert findings.port_open(443, outcome, admin=False).result is result


def test_who_is_no_administrator_is_told_of_the_key() -> None:
    assert "adminCidrs" in findings.port_open(22, "no answer", admin=True).remedy


@pytest.mark.parametrize(("outcome", "result"), [("open", Result.FAILED), ("refused", Result.PASSED)])
def test_a_port_that_is_to_be_closed_is(outcome: str, result: Result) -> None:
    assert findings.port_closed("edge-1", 5080, outcome).result is result


@pytest.mark.parametrize(
    ("seen", "mode", "result"),
    [
        ({"notAfter": "Jan 26 12:00:00 2027 GMT"}, TlsMode.LETSENCRYPT, Result.PASSED),
        ({"notAfter": "Nov 30 12:00:00 2026 GMT"}, TlsMode.LETSENCRYPT, Result.FAILED),
        ("self-signed certificate", TlsMode.LETSENCRYPT, Result.FAILED),
        ("self-signed certificate", TlsMode.SELF_SIGNED, Result.NOT_CHECKED),
        ("Connection refused", TlsMode.SELF_SIGNED, Result.FAILED),
    ],
)
def test_a_certificate_is_trusted_and_good_for_a_while(seen: Any, mode: TlsMode, result: Result) -> None:
    assert findings.certificate("a.test", 443, seen, mode, NOW).result is result


@pytest.mark.parametrize(
    ("answer", "saw"),
    [
        (WHOLE, "S0, S1 and S2"),
        (b"", "0 bytes instead of S0, S1 and S2"),
        (b"H" + WHOLE[1:], "version 72 instead of 3"),
        (WHOLE[:-1] + b"x", "S2 does not return C1"),
        ("Connection refused", "Connection refused"),
    ],
)
def test_an_rtmp_handshake_is_read_whole(answer: bytes | str, saw: str) -> None:
    found = findings.rtmp("RTMP", answer, SENT)
    assert found.saw == saw
    assert (found.result is Result.PASSED) is (answer == WHOLE)


@pytest.mark.parametrize(
    ("date", "result"),
    [
        ("Thu, 26 Nov 2026 11:59:58 GMT", Result.PASSED),
        ("Thu, 26 Nov 2026 12:01:00 GMT", Result.FAILED),
        (None, Result.NOT_CHECKED),
    ],
)
def test_clocks_agree_within_seconds(date: str | None, result: Result) -> None:
    assert findings.clock(date, NOW).result is result


@pytest.mark.parametrize(
    ("status", "result"), [(404, Result.PASSED), (503, Result.FAILED), ("timed out", Result.FAILED)]
)
def test_a_node_answers_also_for_a_stream_that_is_not_there(status: int | str, result: Result) -> None:
    assert findings.served("a.test", status).result is result


def test_only_a_failure_makes_the_exit_code_2_and_has_a_remedy() -> None:
    good = findings.web_socket("a.test", 101)
    unknown = findings.clock(None, NOW)
    bad = findings.web_socket("a.test", 503)
    assert findings.exit_code([good, unknown]) == 0
    assert findings.exit_code([good, bad]) == 2
    assert "to do:" in findings.line(bad)
    assert "to do:" not in findings.line(good)
    assert "not checked:" in findings.line(unknown)
