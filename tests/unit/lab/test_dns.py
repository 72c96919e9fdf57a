"""What the lab's resolver answers."""

from __future__ import annotations

import dnslib  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import dns
from lab.dns import Names


def _names(**changed: object) -> Names:
    held = {
        "by_hand": {"hand.test": "192.0.2.33"},
        "zones": {"www.example.org": ["198.51.100.1", "198.51.100.2"], "empty.example.org": []}.get,
        "elastic": ["198.51.100.9"],
        "archive_hosts": {"archive.example.net"},
    }
    return Names(**{**held, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("hand.test", ["192.0.2.33"]),
        ("www.example.org", ["198.51.100.1", "198.51.100.2"]),
        ("archive.example.net", ["192.0.2.80"]),
        ("ip-10-0-0-7.ec2.internal", ["10.0.0.7"]),
        ("ip-10-0-0-777.ec2.internal", None),
        ("media.antmedia.test", ["198.51.100.9"]),
        ("example.com", None),
        ("test", None),
    ],
)
def test_a_name_has_the_addresses_that_exist(name: str, addresses: list[str] | None) -> None:
    assert _names().resolve(name) == addresses


def test_a_name_set_by_hand_wins() -> None:
    assert _names(by_hand={"www.example.org": "192.0.2.1"}).resolve("www.example.org") == ["192.0.2.1"]


@pytest.mark.parametrize("elastic", [[], ["198.51.100.1", "198.51.100.2"]])
def test_without_exactly_one_elastic_ip_no_name_is_guessed(elastic: list[str]) -> None:
    assert _names(elastic=elastic).resolve("media.test") is None


def _asked(name: str, kind: str = "A") -> dnslib.DNSRecord:
    reply = dns.answer(dnslib.DNSRecord.question(name, kind).pack(), _names().resolve)
    assert reply is not None
    return dnslib.DNSRecord.parse(reply)


def test_a_question_is_answered_whatever_its_case() -> None:
    reply = _asked("WWW.Example.ORG.")
    assert [str(answer.rdata) for answer in reply.rr] == ["198.51.100.1", "198.51.100.2"]
    assert all(answer.ttl == dns.ANSWER_SECONDS for answer in reply.rr)


def test_a_name_without_ipv6_exists_all_the_same() -> None:
    reply = _asked("hand.test", "AAAA")
    assert (reply.header.rcode, reply.rr) == (dnslib.RCODE.NOERROR, [])


def test_an_unknown_name_does_not_exist() -> None:
    assert _asked("nothing.example").header.rcode == dnslib.RCODE.NXDOMAIN


def test_a_long_answer_is_cut_over_udp_and_whole_over_tcp() -> None:
    many = [f"198.51.100.{number}" for number in range(1, 100)]
    question = dnslib.DNSRecord.question("many.test").pack()
    cut = dns.answer(question, lambda _: many, 512)
    whole = dns.answer(question, lambda _: many)
    assert cut is not None and whole is not None
    assert len(cut) <= 512 and dnslib.DNSRecord.parse(cut).header.tc == 1
    assert len(dnslib.DNSRecord.parse(whole).rr) == 99


@given(st.binary(max_size=100))
def test_no_bytes_whatever_stop_the_resolver(message: bytes) -> None:
    dns.answer(message, _names().resolve, 512)
