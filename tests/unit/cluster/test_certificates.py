"""A certificate that a person provides, looked at before anything is changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cluster.certificates import faults
from cluster.settings import SettingsError, load
from tests.unit.cluster.certificates import provide
from tests.unit.cluster.conftest import NOW

NAMES = ["live.example.com", "www.example.com"]
GOOD = provide(NAMES, NOW - timedelta(days=1))


def test_a_good_certificate_has_no_fault() -> None:
    assert list(faults(GOOD.chain, GOOD.key, NAMES, NOW)) == []
    assert list(faults(GOOD.chain + provide(["issuer"]).chain, GOOD.key, NAMES, NOW)) == []


def test_a_wildcard_is_good_for_one_label() -> None:
    wildcard = provide(["*.example.com"], NOW)
    assert list(faults(wildcard.chain, wildcard.key, NAMES, NOW + timedelta(seconds=1))) == []
    assert "not for a.b.example.com" in next(faults(wildcard.chain, wildcard.key, ["a.b.example.com"], NOW))


@pytest.mark.parametrize(
    ("chain", "key", "fault"),
    [
        (provide(NAMES, NOW - timedelta(days=100)).chain, GOOD.key, "the certificate ended on 2026-11-12"),
        (provide(NAMES, NOW + timedelta(days=2)).chain, GOOD.key, "begins only on 2026-11-24"),
        (provide(["live.example.com"], NOW).chain, GOOD.key, "is for live.example.com, not for www.example.com"),
        (GOOD.chain, provide(NAMES).key, "the key does not belong to the certificate"),
        (GOOD.chain, "nonsense", "not an unencrypted private key"),
        ("nonsense", GOOD.key, "not a list of certificates"),
        (GOOD.key, GOOD.key, "not a list of certificates"),
    ],
)
def test_a_fault_is_named(chain: str, key: str, fault: str) -> None:
    assert any(fault in each for each in faults(chain, key, NAMES, NOW))


def mistakes(valid: dict[str, Any], **replaced: Any) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load({**valid, **replaced}, now=NOW)
    return {mistake.key: str(mistake) for mistake in caught.value.mistakes}


def test_a_provided_certificate_with_a_fault_is_refused_without_showing_it(valid: dict[str, Any]) -> None:
    old = provide(["live.example.com"], NOW - timedelta(days=100))
    found = mistakes(valid, tls={"mode": "provided", "chain": old.chain, "key": old.key})
    assert list(found) == ["antmedia:tls.chain"]
    assert "ended on 2026-11-12" in found["antmedia:tls.chain"]
    assert "BEGIN" not in found["antmedia:tls.chain"]


def test_chain_and_key_belong_to_the_provided_mode(valid: dict[str, Any]) -> None:
    assert set(mistakes(valid, tls={"mode": "provided"})) == {"antmedia:tls.chain", "antmedia:tls.key"}


@pytest.mark.parametrize("mode", ["letsencrypt", "provided"])
def test_a_certificate_of_an_authority_needs_a_domain(valid: dict[str, Any], mode: str) -> None:
    del valid["domain"]
    tls = {"mode": mode, "chain": GOOD.chain, "key": GOOD.key} if mode == "provided" else {"mode": mode}
    assert "set tls.mode to self-signed or none" in mistakes(valid, tls=tls)["antmedia:domain"]


def test_names_outside_the_zone_are_refused(valid: dict[str, Any]) -> None:
    found = mistakes(valid, dns={"zone": "example.com"}, tls={"extraNames": ["live.example.org", "notexample.com"]})
    assert list(found) == ["antmedia:dns.zone"]
    load({**valid, "dns": {"zone": "example.com"}}, now=NOW)
    load({**valid, "dns": {"zone": "live.example.com"}}, now=NOW)


@pytest.mark.parametrize("email", ["nobody", "a b@example.com", "$(id)@example.com", "a@example"])
def test_an_address_that_is_none_is_refused(valid: dict[str, Any], email: str) -> None:
    assert "antmedia:tls.email" in mistakes(valid, tls={"email": email})


@pytest.mark.parametrize("directory", ["http://acme.example.com/", "https://acme.example.com/$(id)", "acme"])
def test_a_directory_that_is_none_is_refused(valid: dict[str, Any], directory: str) -> None:
    assert "antmedia:tls.acmeDirectory" in mistakes(valid, tls={"acmeDirectory": directory})
