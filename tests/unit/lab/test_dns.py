"""What the lab's resolver answers."""

from __future__ import annotations

import dnslib  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import dns
from lab.dns import Names
from lab.ec2.model import AddressRecords


def _names(**changed: object) -> Names:
    zones = {
        "www.example.org": AddressRecords(("198.51.100.1", "198.51.100.2"), 300),
        "text.example.org": AddressRecords((), 60),
        "nothing.zone.test": AddressRecords((), 60, exists=False),
        "acme.lab.test": AddressRecords(("198.51.100.3",), 300),
    }
    held = {
        "by_hand": {"hand.test": "192.0.2.33", "gone.test": None},
        "zones": zones.get,
        "elastic": ["198.51.100.9"],
        "archive_hosts": {"archive.example.net"},
    }
    return Names(**{**held, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("hand.test", ["192.0.2.33"]),
        ("www.example.org", ["198.51.100.1", "198.51.100.2"]),
        ("text.example.org", []),
        ("nothing.zone.test", None),
        ("gone.test", None),
        ("archive.example.net", ["192.0.2.80"]),
        ("acme.lab.test", ["192.0.2.90"]),
        ("secretsmanager.us-east-1.amazonaws.com", ["192.0.2.91"]),
        ("secretsmanager.eu-west-1.amazonaws.com", None),
        ("ip-10-0-0-7.ec2.internal", ["10.0.0.7"]),
        ("ip-10-0-0-777.ec2.internal", None),
        ("media.antmedia.test", ["198.51.100.9"]),
        ("example.com", None),
        ("test", None),
    ],
)
def test_a_name_has_the_addresses_that_exist(name: str, addresses: list[str] | None) -> None:
    assert _addresses(_names(), name) == addresses


def _addresses(names: Names, name: str) -> list[str] | None:
    found = names.resolve(name)
    return None if found is None else list(found.addresses)


def test_a_name_set_by_hand_wins() -> None:
    names = _names(by_hand={"www.example.org": "192.0.2.1", "acme.lab.test": None})
    assert _addresses(names, "www.example.org") == ["192.0.2.1"]
    assert _addresses(names, "acme.lab.test") is None


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
    assert all(answer.ttl == 300 for answer in reply.rr), "as the zone says"


def test_what_no_zone_says_may_be_kept_for_a_second_only() -> None:
    assert [answer.ttl for answer in _asked("media.antmedia.test").rr] == [1]


def test_a_name_without_ipv6_exists_all_the_same() -> None:
    reply = _asked("hand.test", "AAAA")
    assert (reply.header.rcode, reply.rr) == (dnslib.RCODE.NOERROR, [])


def test_an_unknown_name_does_not_exist() -> None:
    assert _asked("nothing.example").header.rcode == dnslib.RCODE.NXDOMAIN


def test_a_long_answer_is_cut_over_udp_and_whole_over_tcp() -> None:
    many = AddressRecords(tuple(f"198.51.100.{number}" for number in range(1, 100)), 1)
    question = dnslib.DNSRecord.question("many.test").pack()
    cut = dns.answer(question, lambda _: many, 512)
    whole = dns.answer(question, lambda _: many)
    assert cut is not None and whole is not None
    assert len(cut) <= 512 and dnslib.DNSRecord.parse(cut).header.tc == 1
    assert len(dnslib.DNSRecord.parse(whole).rr) == 99


@given(st.binary(max_size=100))
def test_no_bytes_whatever_stop_the_resolver(message: bytes) -> None:
    dns.answer(message, _names().resolve, 512)
