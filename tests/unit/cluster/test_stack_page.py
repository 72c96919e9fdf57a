"""A stack's own page."""

from __future__ import annotations

import re

import pytest

from cluster.stack_page import PAGE, PLACE, stack_page

HOSTS = {
    "lb-1": {"role": "lb", "privateAddress": "172.30.0.10", "publicAddress": "198.51.100.4"},
    "db-1": {"role": "db", "privateAddress": "172.30.0.20", "publicAddress": None},
}


def test_places_hold_outputs() -> None:
    assert stack_page("a ${outputs.x} b ${outputs.x}/${outputs.y}\n", {"x": "1", "y": 2}) == "a 1 b 1/2\n"


def test_a_line_about_what_a_stack_has_not_is_left_out() -> None:
    assert stack_page("a\n| x | ${outputs.x} |\nb ${outputs.y}\n", {"x": None, "y": ["1", "2"]}) == "a\nb `1`, `2`\n"


def test_hosts_are_a_table() -> None:
    assert stack_page("${outputs.nodes}\n", {"nodes": HOSTS}).splitlines()[2:] == [
        "| lb-1 | 172.30.0.10 | 198.51.100.4 |",
        "| db-1 | 172.30.0.20 |  |",
    ]


def test_an_output_that_there_is_not_is_a_mistake_of_the_page() -> None:
    with pytest.raises(KeyError):
        stack_page("${outputs.x}", {"y": "1"})


def test_without_tls_and_alarms_the_page_names_neither() -> None:
    names = set(PLACE.findall(PAGE.read_text()))
    without = {"rtmpsUrl", "dashboardUrl", "dnsRecordToSet"}
    outputs = {name: None if name in without else f"[{name}]" for name in names}
    page = stack_page(PAGE.read_text(), {**outputs, "nodes": HOSTS})
    assert "RTMPS" not in page
    assert "alarms" not in page
    assert not re.search("None|outputs", page)
